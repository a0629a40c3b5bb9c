"""Where a search stands: what it does, who works for it, and what has happened to them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

from dash import html
from dash.development.base_component import Component

from evaluators.pool_events import PoolEvent
from experiments.dashboard.scene import Scene
from experiments.dashboard.views.view import NothingYet, Row, View, facts, table
from experiments.live import Live, status_of
from experiments.report.look import duration
from experiments.report.state import live_facts

_CAPTION = (
    "What the search is doing, who works for it, and what has happened to them. Whatever happens "
    "to a worker, its work is done by others, and the answers are those of an undisturbed run."
)


def _body(scene: Scene) -> list[Component]:
    watched = scene.library.watched(scene.name)
    live, faults = watched.live(), watched.faults()
    status = status_of(watched.folder, live)
    if live is None and not faults:
        raise NothingYet(
            f"Run '{scene.name}' is {status} and has left no word of what it did. A search tells "
            f"while it runs; 'evounet resume {watched.folder.path}' continues one."
        )
    parts: list[Component] = [
        html.P(_status(scene, status, live), className=f"status {status}", role="status")
    ]
    if live is not None and status == "running":
        parts.append(_progress(live))
    if live is not None and status != "finished":
        ago = f"{duration(max(0.0, time.time() - live.updated))} ago"
        parts.append(facts({**dict(live_facts(live)), "Told": ago}))
    return [*parts, html.H3("What happened to the workers"), *_faults(faults)]


def _status(scene: Scene, status: str, live: Live | None) -> str:
    folder = scene.library.watched(scene.name).folder.path
    if status == "finished":
        return f"Finished. 'evounet export {folder} --out found-unet' hands out its UNet."
    if status == "running":
        return f"Running: round {live.round}." if live else "Running."
    return f"Stopped. 'evounet resume {folder}' continues it where it was."


def _progress(live: Live) -> Component:
    """A bar as long as what is done of what it is doing."""
    share = 100 * min(1.0, live.done / live.total) if live.total else 0.0
    return html.Div(
        html.Div(style={"width": f"{share:.1f}%"}),
        className="progress",
        role="progressbar",
        **{
            "aria-label": live.doing or "between two steps",
            "aria-valuenow": f"{share:.0f}",
            "aria-valuemin": "0",
            "aria-valuemax": "100",
        },
    )


def _faults(events: tuple[PoolEvent, ...]) -> list[Component]:
    if not events:
        text = "Nothing: no worker or node was lost or slow, and none came later."
        return [html.P(text, className="empty")]
    head = ("when", "what", "who", "what came of it")
    return [table("What happened to the workers, in order", head, list(map(_event, events)))]


def _event(event: PoolEvent) -> tuple[str, ...]:
    when = datetime.fromtimestamp(event.time).strftime("%Y-%m-%d %H:%M:%S")
    return when, event.kind, event.who, event.text


def _rows(scene: Scene) -> Iterator[Row]:
    yield "when", "what", "who", "what came of it"
    yield from map(_event, scene.library.watched(scene.name).faults())


LIVE = View("live", "Live", _CAPTION, _rows, body=_body, pulsing=True)
