"""What a report is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from evaluators.latency import TableLatency
from evaluators.pool_events import PoolEvent
from search.decision import Decision
from search.front import FrontPoint
from supernet.architecture import Architecture
from supernet.inventory import Inventory


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
        result: figures of the finished search: ``unet_ms_before`` and ``unet_ms_after``
            (measured), ``clip_before``, ``clip_after``, ``caption_accuracy_before``,
            ``caption_accuracy_after`` and ``wall_s``; None while it runs.
        commands: command lines that repeat the run.
        faults: what happened to its workers, in order.
        front: what it went on to beyond its target, fastest first.
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

    @property
    def base(self) -> Architecture:
        return self.inventory.full()

    @property
    def found(self) -> Architecture:
        """The architecture after the last decision; the base before the first."""
        return self.decisions[-1].after if self.decisions else self.base
