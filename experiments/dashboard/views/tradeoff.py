"""CLIP score against latency, by any table, of one run or several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import plotly.graph_objects as go
from dash import html
from dash.development.base_component import Component

from experiments.dashboard.prices import Priced, table_choices
from experiments.dashboard.scene import Scene
from experiments.dashboard.views.samples import picture_address
from experiments.dashboard.views.view import NothingYet, Row, View, choices, opener, select
from experiments.report.tradeoff import Cloud, mark_target, tradeoff
from experiments.run_comparison import RunFigures, runs_figure

_CAPTION = (
    "Every architecture that was evaluated; up and to the left is better. Open marks: the change "
    "of CLIP score is not distinguishable from zero. Between two rounds the weights are trained, "
    "so the same blocks may score differently (dotted). A mark opens its architecture."
)


def _figure(scene: Scene) -> go.Figure:
    runs = [each for each in scene.all_priced() if each.run.evaluations or each.decisions]
    if not runs:
        raise NothingYet(
            f"Run '{scene.name}' has not evaluated anything yet. The search first trains the "
            "supernet, then scores it without each of its blocks; architectures appear here as "
            "soon as they are scored."
        )
    if len(runs) > 1:
        figure = runs_figure([figures_of(each) for each in runs])
        if runs[0].target_ms is not None:
            mark_target(figure, runs[0].target_ms)
        return figure
    [one] = runs
    table = one.latency.table.metadata.name
    others, best = _cloud(one, one.undecided), _cloud(one, one.best)
    figure = tradeoff(one.decisions, one.target_ms, table, one.front, others, best)
    figure.layout.meta = {"pictures": _pictures(one)}
    return figure


def _cloud(one: Priced, which: Sequence[int]) -> Cloud:
    """Some of a run's evaluations, by their places."""
    return Cloud(np.array(which, np.int32), one.evaluations_ms[which], one.clip[which])


def figures_of(one: Priced) -> RunFigures:
    """A run as the comparison of runs draws it."""
    first = one.decisions[:1]
    way = [(d.latency_before_ms, d.clip_before) for d in first]
    way += [(d.latency_after_ms, d.clip_after) for d in one.decisions]
    return RunFigures(
        one.run.name,
        one.run.strategy,
        one.run.seed,
        one.latency.table.metadata.name,
        tuple(way),
        tuple((point.latency_ms, point.clip) for point in one.front),
        None if one.run.result is None else dict(one.run.result),
        _cloud(one, range(len(one.run.evaluations))),
    )


def _pictures(one: Priced) -> dict[str, list[str]]:
    """Of marks whose architecture has drawn samples: where one is, and what it shows."""
    run, last = one.run, f"after r{len(one.decisions)}"
    sets = {"before r1": "base"} | {f"after r{d.round}": f"round {d.round}" for d in one.decisions}
    drawn = {samples.title: samples for samples in run.round_samples}
    shown = {name: drawn[title] for name, title in sets.items() if title in drawn}
    for samples in run.samples:
        shown.setdefault("before r1" if samples.title == "base" else last, samples)
    return {
        name: [
            picture_address(run, samples, 0),
            f"{samples.title}, CLIP {samples.clip_scores[0]:.3f}: {samples.captions[0]}",
        ]
        for name, samples in shown.items()
    }


def _controls(scene: Scene) -> list[Component]:
    table = select("table", "Latency table", table_choices(scene.run))
    others = {name: name for name in scene.library.names if name != scene.name}
    if not others:
        return [table]
    return [table, choices("others", "Beside it", others, several=True)]


def _body(scene: Scene) -> list[Component]:
    """The marks that matter, for those who do not point at them."""
    one = scene.priced
    names = {f"before r{d.round}": "base" for d in one.decisions[:1]}
    names |= {f"after r{d.round}": f"after round {d.round}" for d in one.decisions}
    names |= {f"point {i}": f"point {i} of the front" for i in range(1, len(one.front) + 1)}
    buttons = [opener(text, name) for name, text in names.items()]
    return [html.Div([html.Span("Open:", className="label"), *buttons], className="openers")]


def _rows(scene: Scene) -> Iterator[Row]:
    yield (
        "run",
        "round",
        "architecture or action",
        "CLIP score",
        "latency (ms)",
        "delta CLIP",
        "95 % margin",
        "delta latency (ms)",
        "value (CLIP per ms)",
        "prompts",
        "executed",
    )
    for one in scene.all_priced():
        name = one.run.name
        for d in one.decisions:
            for c in d.candidates:
                yield (
                    name,
                    d.round,
                    c.action,
                    c.clip,
                    d.latency_before_ms + c.delta_latency_ms,
                    c.delta_clip,
                    c.margin,
                    c.delta_latency_ms,
                    c.value,
                    c.prompts,
                    c.action in d.taken,
                )
        others = zip(one.run.evaluations, one.evaluations_ms, strict=True)
        for each, ms in others:
            clip, prompts = each.clip, each.prompts
            yield name, each.round, each.architecture, clip, ms, "", "", "", "", prompts, ""


TRADEOFF = View("tradeoff", "CLIP and latency", _CAPTION, _rows, _figure, _body, controls=_controls)
