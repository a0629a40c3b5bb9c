"""Where the time goes and the parameters are, by stage and kind of block."""

from __future__ import annotations

from collections.abc import Iterator

import plotly.graph_objects as go
from dash.development.base_component import Component

from experiments.dashboard.prices import table_choices
from experiments.dashboard.scene import Scene
from experiments.dashboard.views.view import Row, View, choices, select, slider
from experiments.report.stage_latency import Measure, stage_latency, stage_parameters
from supernet.architecture import SITE_KINDS, Architecture

_CAPTION = (
    "What the blocks of each stage cost, base (pale) and found; the rest is what no removal saves: "
    "convolutions in and out, samplers, shortcuts. All bars together are the UNet."
)
_MEASURES = {"latency": "latency", "parameters": "parameters"}


def _shown(scene: Scene) -> Architecture:
    """What is there after the decisions that are shown."""
    return scene.decisions[-1].after if scene.decisions else scene.priced.base


def _figure(scene: Scene) -> go.Figure:
    if scene.address.measure == "parameters":
        return stage_parameters(scene.run.inventory, _shown(scene))
    return stage_latency(scene.priced.latency, _shown(scene))


def _controls(scene: Scene) -> list[Component]:
    return [
        choices("measure", "Of the", _MEASURES),
        slider("round", "Decisions shown", len(scene.run.decisions)),
        select("table", "Latency table", table_choices(scene.run)),
    ]


def _rows(scene: Scene) -> Iterator[Row]:
    yield (
        "stage",
        "kind",
        "base latency (ms)",
        "found latency (ms)",
        "base parameters",
        "found parameters",
    )
    base, shown = scene.priced.base, _shown(scene)
    latency = Measure(scene.priced.latency, "latency", "ms")
    parameters = Measure(scene.run.inventory.parameters, "parameters", "")
    for stage in dict.fromkeys(block.stage for block in base):
        for kind in SITE_KINDS:
            costs = [
                measure.of_blocks(each, stage, kind)
                for measure in (latency, parameters)
                for each in (base, shown)
            ]
            yield stage, kind, *costs


BREAKDOWN = View("breakdown", "Breakdown", _CAPTION, _rows, _figure, controls=_controls)
