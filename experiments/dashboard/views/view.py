"""What a view is, and what its controls are made with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from dash import dcc, html
from dash.development.base_component import Component

from experiments.dashboard.scene import Scene

Row = Sequence[object]


class NothingYet(ValueError):
    """There is nothing to show so far; says what has to happen first."""


def no_controls(scene: Scene) -> list[Component]:
    return []


@dataclass(frozen=True)
class View:
    """One look at the runs.

    Attributes:
        key: in the address.
        title: for people.
        caption: how to read it.
        rows: what it shows as a table, its head first; units stand in the head.
        figure: its picture, if it has one.
        body: what stands below the picture, if anything.
        controls: that choose what is shown.
        pulsing: whether it tells of trainings and workers, which change all the time.
    """

    key: str
    title: str
    caption: str
    rows: Callable[[Scene], Iterator[Row]]
    figure: Callable[[Scene], go.Figure] | None = None
    body: Callable[[Scene], list[Component]] | None = None
    controls: Callable[[Scene], list[Component]] = no_controls
    pulsing: bool = False


def select(key: str, label: str, options: Sequence[str]) -> Component:
    """A list to choose one of for a field of the address; the first is the default."""
    fields = {"data-key": key, "data-default": options[0]}
    field = html.Select([html.Option(each, value=each) for each in options], **fields)
    return html.Label([html.Span(label, className="label"), field], className="control")


def choices(key: str, label: str, options: Mapping[str, str], several: bool = False) -> Component:
    """Buttons of which one is pressed; or any, where ``several`` may be chosen.

    Args:
        key: field of the address.
        label: of all.
        options: values with their texts; unless several may be chosen, the first is the default.
        several: whether any number of them may.
    """
    default = "" if several else next(iter(options))
    kind = "several" if several else "one"
    fields = {"data-key": key, "data-default": default, "data-kind": kind}
    buttons = [
        html.Button(text, className="choice", **{**fields, "data-value": value})
        for value, text in options.items()
    ]
    return html.Div(
        [html.Span(label, className="label"), html.Div(buttons, className="choices")],
        className="control",
        role="group",
        **{"aria-label": label},
    )


def opener(text: str, name: str) -> Component:
    """A button that opens an architecture by its name; none by ``""``."""
    return html.Button(text, **{"data-key": "open", "data-value": name, "data-kind": "go"})


def slider(key: str, label: str, most: int) -> Component:
    """A whole number from 0; the largest is the default."""
    field = dcc.Input(id=f"slide-{key}", type="range", min=0, max=most, step=1, value=most)
    name = html.Span([f"{label}: ", html.Output(f"{most} of {most}")], className="label")
    return html.Label([name, field], className="control wide")


def facts(pairs: Mapping[str, Any]) -> Component:
    """Names and what stands for them."""
    items = [html.Div([html.Dt(name), html.Dd(value)]) for name, value in pairs.items()]
    return html.Dl(items, className="facts")


def table(caption: str, head: Row, rows: Sequence[Row]) -> Component:
    """A table whose rows have their names first; it scrolls by itself where it is too wide."""
    body = [
        html.Tr([html.Th(row[0], scope="row"), *(html.Td(cell) for cell in row[1:])])
        for row in rows
    ]
    whole = html.Table(
        [
            html.Caption(caption),
            html.Thead(html.Tr([html.Th(cell, scope="col") for cell in head])),
            html.Tbody(body),
        ]
    )
    return html.Div(whole, className="scroll", role="region", tabIndex=0, **{"aria-label": caption})
