"""How the trainings went: loss and learning rate, one training behind the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Any

import numpy as np
import plotly.graph_objects as go

from experiments.report.look import FAINT, INK, KIND_COLORS, canvas
from experiments.training_log import TrainingPoint
from supernet.architecture import CROSS_ATTENTION, RESNET

_SMOOTH = 1 / 12  # of a training's points, that the mean around each is of
_NAMED = 0.04  # of all steps: the names of shorter trainings would run into one another
_LOSS, _RATE = KIND_COLORS[RESNET], KIND_COLORS[CROSS_ATTENTION]


@dataclass(frozen=True)
class _Training:
    """One training, and how many steps were done before it."""

    name: str
    points: tuple[TrainingPoint, ...]
    start: int

    @property
    def middle(self) -> float:
        return self.start + self.points[-1].steps / 2

    @property
    def steps(self) -> list[int]:
        return [self.start + point.step for point in self.points]


def training_curves(points: Sequence[TrainingPoint]) -> go.Figure:
    """Loss (of single steps pale, their moving mean in full colour) above the learning rate.

    Args:
        points: at least one; trainings in the order in which they began.
    """
    trainings = list(_trainings(points))
    figure = canvas(420, showlegend=False, hovermode="x unified")
    figure.update_layout(
        xaxis={"anchor": "y2", "title": "steps of all trainings"},
        yaxis={"domain": [0.4, 1], "title": "loss", "type": "log"},
        yaxis2={"domain": [0, 0.28], "title": "learning rate", "exponentformat": "power"},
        margin={"t": 28},
    )
    figure.update_yaxes(gridcolor=FAINT, zeroline=False, automargin=True, title_standoff=18)
    figure.update_layout(
        yaxis={"dtick": "D2", "tickformat": ".2~g"},  # 0.05 and not the bare 5 of a log axis
        yaxis2={"rangemode": "tozero", "nticks": 4},
    )
    for training in trainings:
        _add(figure, training)
    whole = trainings[-1].start + trainings[-1].points[-1].steps
    for training in trainings:
        if training.points[-1].steps >= _NAMED * whole:
            figure.add_annotation(_name(training))
    for training in trainings[1:]:
        line = {"color": FAINT, "width": 1.5}
        figure.add_shape(
            type="line", x0=training.start, x1=training.start, y0=0, y1=1, yref="paper", line=line
        )
    return figure


def _trainings(points: Sequence[TrainingPoint]) -> Iterator[_Training]:
    groups = [tuple(own) for _, own in groupby(points, lambda point: point.training)]
    starts = accumulate((own[-1].steps for own in groups), initial=0)
    for own, start in zip(groups, starts, strict=False):  # the last start is the end
        yield _Training(own[0].training, own, start)


def _add(figure: go.Figure, training: _Training) -> None:
    losses = [point.loss for point in training.points]
    common = {"x": training.steps, "mode": "lines", "name": training.name}
    figure.add_scatter(
        **common, y=losses, line={"color": _LOSS, "width": 1}, opacity=0.35, hoverinfo="skip"
    )
    figure.add_scatter(
        **common,
        y=_smooth(losses),
        line={"color": _LOSS, "width": 2.5},
        customdata=[
            (point.step, point.steps, point.loss, _pace(point)) for point in training.points
        ],
        hovertemplate=f"{training.name}, step %{{customdata[0]}} of %{{customdata[1]}}: "
        "loss %{customdata[2]:.4g}, mean around it %{y:.4g}%{customdata[3]}<extra></extra>",
    )
    figure.add_scatter(
        **common,
        y=[point.learning_rate for point in training.points],
        yaxis="y2",
        line={"color": _RATE, "width": 2},
        hovertemplate="learning rate %{y:.3g}<extra></extra>",
    )


def _name(training: _Training) -> dict[str, Any]:
    """Above the curves."""
    return {
        "x": training.middle,
        "y": 1,
        "yref": "paper",
        "yanchor": "bottom",
        "text": training.name.replace("round-", "r"),
        "showarrow": False,
        "font": {"color": INK, "size": 12},
    }


def _pace(point: TrainingPoint) -> str:
    return "" if point.pictures_per_s is None else f", {point.pictures_per_s:.1f} pictures/s"


def _smooth(values: Sequence[float]) -> list[float]:
    """The mean of what is around each value, as far as there is as much on both sides."""
    half = int(len(values) * _SMOOTH) // 2
    sums = np.cumsum([0.0, *values])
    means = []
    for i in range(len(values)):
        reach = min(half, i, len(values) - 1 - i)
        means.append(float(sums[i + reach + 1] - sums[i - reach]) / (2 * reach + 1))
    return means
