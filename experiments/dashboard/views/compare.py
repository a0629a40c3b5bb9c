"""Runs side by side: their figures, and what distinguishes what was asked and what was found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from dash import html
from dash.development.base_component import Component

from experiments.dashboard.runs import Run
from experiments.dashboard.scene import Scene
from experiments.dashboard.views.tradeoff import figures_of
from experiments.dashboard.views.view import NothingYet, Row, View, table
from experiments.run_comparison import RUN_COLUMNS, RunFigures, run_row, runs_figure

_CAPTION = (
    "The way of every run from its base (right) to what it found, each by the table of its own "
    "objective. Below: its figures, the settings that differ, and the blocks that differ."
)

_NOT_SEARCHED = ("name", "decoder", "steps")  # of an experiment, what a search does not ask for


def _decided(scene: Scene) -> tuple[list[tuple[Run, RunFigures]], list[str]]:
    """The runs that have decided something; and why others are not shown."""
    shown, left = [], []
    for name in scene.library.names:
        try:
            run = scene.library.run(name)
            if not run.decisions:
                raise NothingYet(f"Run '{name}' has not decided anything yet.")
            priced = scene.library.prices.priced(run, None)
        except ValueError as error:
            left.append(str(error))
        else:
            shown.append((run, figures_of(priced)))
    if not shown:
        raise NothingYet(" ".join(left))
    return shown, left


def _figure(scene: Scene) -> go.Figure:
    return runs_figure([figures for _, figures in _decided(scene)[0]])


def _body(scene: Scene) -> list[Component]:
    shown, left = _decided(scene)
    runs = [run for run, _ in shown]
    parts: list[Component] = [html.P(text, className="empty") for text in left]
    parts.append(table("Figures", RUN_COLUMNS, [run_row(figures) for _, figures in shown]))
    if len(runs) == 1:
        hint = "One run only: name more of them, 'evounet dashboard RUN RUN ...', to compare them."
        return [*parts, html.P(hint, className="empty")]
    names = [run.name for run in runs]
    for title, values in (("Settings that differ", _settings), ("Blocks that differ", _blocks)):
        rows = _differing([values(run) for run in runs])
        parts.append(html.H3(title))
        if rows:
            parts.append(table(title, ("", *names), rows))
        else:
            parts.append(html.P("None: all runs are alike here.", className="empty"))
    return parts


def _differing(values: Sequence[Mapping[str, str]]) -> list[tuple[str, ...]]:
    """Rows of the keys whose values are not the same in all."""
    keys = dict.fromkeys(key for each in values for key in each)
    rows = [(key, *(each.get(key, "–") for each in values)) for key in keys]
    return [row for row in rows if len(set(row[1:])) > 1]


def _settings(run: Run) -> dict[str, str]:
    searched = {name: own for name, own in run.settings.items() if name not in _NOT_SEARCHED}
    return dict(_flat(searched))


def _flat(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in section.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)


def _blocks(run: Run) -> dict[str, str]:
    """How often every block runs in what was found."""
    return {str(block): f"×{count}" for block, count in run.decisions[-1].after.blocks}


def _rows(scene: Scene) -> Iterator[Row]:
    yield RUN_COLUMNS
    for _, figures in _decided(scene)[0]:
        yield run_row(figures)


COMPARE = View("compare", "Compare", _CAPTION, _rows, _figure, _body)
