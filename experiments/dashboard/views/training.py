"""How the trainings of a run go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, fields

import plotly.graph_objects as go

from experiments.dashboard.scene import Scene
from experiments.dashboard.views.view import NothingYet, Row, View
from experiments.report.training_curves import training_curves
from experiments.training_log import TrainingPoint

_CAPTION = (
    "Loss and learning rate of the supernet's trainings, each before the decision of its round, "
    "and of the longer one of what was found. Pale: single steps; full: the mean around each."
)


def _figure(scene: Scene) -> go.Figure:
    points = scene.library.watched(scene.name).curves()
    if not points:
        raise NothingYet(
            f"Run '{scene.name}' has left no curves: nothing was trained yet, its experiment asks "
            "for no steps (training.round.steps), or an earlier evounet made it."
        )
    return training_curves(points)


def _rows(scene: Scene) -> Iterator[Row]:
    yield tuple(field.name for field in fields(TrainingPoint))
    for point in scene.library.watched(scene.name).curves():
        yield astuple(point)


TRAINING = View("training", "Training", _CAPTION, _rows, _figure, pulsing=True)
