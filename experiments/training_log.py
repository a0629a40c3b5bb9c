"""How the trainings of a run went: loss, learning rate and pace, a point now and then."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.json_lines import append_line, read_lines
from experiments.progress import OnProgress
from experiments.run_folder import RunFolderError
from search.state import write_atomically

if TYPE_CHECKING:
    from supernet.training_settings import OptimizationSettings  # imports torch

_POINTS = 300  # of a training at most, besides its first and its last step


@dataclass(frozen=True)
class TrainingPoint:
    """A training after one of its steps.

    Attributes:
        training: its name: ``round-1``, ``final``, ``decoder``, or that of a stage.
        step: number of steps done.
        steps: of the whole training.
        loss: of this step alone, so that it is the same however often a training was interrupted.
        learning_rate: of this step.
        pictures_per_s: since the point before; None of the first after a start.
    """

    training: str
    step: int
    steps: int
    loss: float
    learning_rate: float
    pictures_per_s: float | None


class TrainingLog:
    """Keeps ``training.jsonl``; one process at a time does.

    Args:
        path: of the file.
        now: seconds, of which differences are taken.
    """

    def __init__(self, path: Path, now: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self.now = now

    def following(
        self, name: str, settings: OptimizationSettings, on_progress: OnProgress
    ) -> OnProgress:
        """Progress of a training, told on and kept.

        Steps that are done again, after an interruption or with other settings, replace what was
        kept of them.

        Args:
            name: of the training.
            settings: of the training.
            on_progress: told of every step.
        """
        return _Follower(self, name, settings, on_progress)

    def keep(self, point: TrainingPoint) -> None:
        append_line(self.path, asdict(point))

    def forget(self, name: str, step: int) -> None:
        """What was kept of a training from a step on."""
        points = list(read_lines(self.path))
        left = [p for p in points if p.get("training") != name or p.get("step", 0) < step]
        if len(left) < len(points):
            write_atomically(self.path, "".join(json.dumps(each) + "\n" for each in left))


class _Follower:
    """Hears of every step of one training; see :meth:`TrainingLog.following`."""

    def __init__(
        self,
        log: TrainingLog,
        name: str,
        settings: OptimizationSettings,
        on_progress: OnProgress,
    ) -> None:
        self.log = log
        self.name = name
        self.settings = settings
        self.on_progress = on_progress
        self.every = -(-settings.steps // _POINTS)
        self.last: int | None = None  # step that was told of
        self.paced: tuple[int, float] = (0, 0.0)  # step and moment that the pace counts from

    def __call__(self, done: int, figures: dict[str, float]) -> None:
        self.on_progress(done, figures)
        starts = self.last is None or done <= self.last
        self.last = done
        if starts:
            self.log.forget(self.name, done)
        now = self.log.now()
        if done in (1, self.settings.steps) or done % self.every == 0:
            pace = None if starts else self._pace(done, now)
            rate = self.settings.rate(done - 1)
            steps = self.settings.steps
            self.log.keep(TrainingPoint(self.name, done, steps, figures["loss"], rate, pace))
        elif not starts:
            return
        self.paced = done, now

    def _pace(self, done: int, now: float) -> float | None:
        step, moment = self.paced
        pictures = (done - step) * self.settings.batch_size
        return round(pictures / (now - moment), 3) if now > moment else None


def load_training(path: Path) -> tuple[TrainingPoint, ...]:
    """The points of all trainings of a run, in their order; none if there were no trainings.

    Raises:
        RunFolderError: if the file is damaged.
    """
    try:
        return tuple(TrainingPoint(**line) for line in read_lines(path))
    except TypeError as error:
        raise RunFolderError(
            f"{path}: damaged ({error}); delete it, and only the curves are lost"
        ) from error
