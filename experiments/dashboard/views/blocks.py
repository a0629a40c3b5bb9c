"""The UNet as its U, round by round."""

from __future__ import annotations

from collections.abc import Iterator

import plotly.graph_objects as go
from dash.development.base_component import Component

from experiments.dashboard.prices import table_choices
from experiments.dashboard.scene import Scene
from experiments.dashboard.views.view import Row, View, choices, select, slider
from experiments.report.block_map import COLORINGS, block_map, fates

_CAPTION = (
    "The base UNet from noise (top left) to prediction (top right). Dashed and hollow: removed; "
    "×2: doubled; r1: changed in round 1. What a block gives is the CLIP score lost without it, or "
    "gained by adding it, when it was last scored; what it takes is what its removal saves."
)


def _figure(scene: Scene) -> go.Figure:
    color = scene.address.color if scene.address.color in COLORINGS else "kind"
    return block_map(scene.priced.latency, scene.decisions, color)


def _controls(scene: Scene) -> list[Component]:
    return [
        choices("color", "Colour by", COLORINGS),
        slider("round", "Decisions shown", len(scene.run.decisions)),
        select("table", "Latency table", table_choices(scene.run)),
    ]


def _rows(scene: Scene) -> Iterator[Row]:
    yield "block", "runs", "in the base", "round", "CLIP it gives", "latency (ms)", "CLIP per ms"
    for block, fate in fates(scene.priced.latency, scene.decisions).items():
        yield (
            block,
            fate.count,
            fate.base_count,
            "" if fate.round is None else fate.round,
            fate.clip_given,
            fate.saved_ms,
            fate.value,
        )


BLOCKS = View("blocks", "Block map", _CAPTION, _rows, _figure, controls=_controls)
