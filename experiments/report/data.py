"""What a report is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evaluators.latency import TableLatency
from evaluators.pool_events import PoolEvent
from experiments.live import Live
from experiments.report.tradeoff import Cloud
from experiments.training_log import TrainingPoint
from search.decision import Decision
from search.front import FrontPoint
from supernet.architecture import Architecture
from supernet.parts import Inventory

if TYPE_CHECKING:
    from torch import Tensor  # figures are drawn without it


@dataclass(frozen=True)
class SampleSet:
    """Pictures of one UNet.

    Attributes:
        title: which UNet drew them.
        images: (n, 3, height, width), in [0, 1].
        captions: the prompt of each.
        clip_scores: of each picture with its prompt.
    """

    title: str
    images: Tensor
    captions: tuple[str, ...]
    clip_scores: tuple[float, ...]


def picture_name(title: str, number: int) -> str:
    """The file of one picture of a set."""
    return f"{title.replace(' ', '-')}-{number:02d}.png"


@dataclass(frozen=True)
class ReportData:
    """A search, finished or under way.

    Attributes:
        title: name of the run.
        inventory: of the base UNet.
        decisions: so far, in order.
        latency: by the table of the objective, in ms of one UNet pass.
        target_ms: latency to reach.
        samples: of the UNets to be compared, all for the same prompts from the same noise.
        others: what it evaluated besides, whatever came of it.
        best: of all evaluations, what no other one beats in both, fastest first.
        round_samples: like ``samples``, of the base and of what every round ended with.
        result: figures of the finished search: ``unet_ms_before`` and ``unet_ms_after``
            (measured), ``clip_before``, ``clip_after``, ``caption_accuracy_before``,
            ``caption_accuracy_after`` and ``wall_s``; None while it runs.
        commands: command lines that repeat the run.
        faults: what happened to its workers, in order.
        front: what it went on to beyond its target, fastest first.
        curves: how its trainings went.
        live: what it does at the moment; None if it is not running.
        conditions: what its figures are of, in lines for people.
    """

    title: str
    inventory: Inventory
    decisions: tuple[Decision, ...]
    latency: TableLatency
    target_ms: float
    samples: tuple[SampleSet, ...]
    result: Mapping[str, float] | None
    commands: tuple[str, ...]
    faults: tuple[PoolEvent, ...] = ()
    front: tuple[FrontPoint, ...] = ()
    others: Cloud | None = None
    best: Cloud | None = None
    round_samples: tuple[SampleSet, ...] = ()
    curves: tuple[TrainingPoint, ...] = ()
    live: Live | None = None
    conditions: tuple[str, ...] = ()

    @property
    def base(self) -> Architecture:
        return self.inventory.full()

    @property
    def found(self) -> Architecture:
        """The architecture after the last decision; the base before the first."""
        return self.decisions[-1].after if self.decisions else self.base
