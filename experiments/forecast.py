"""How long a search will take: what it asks of its evaluators, and how fast one of them is here.

The controller is rehearsed, on scores that are invented, so what it asks for is counted and not
estimated by a formula. One batch is drawn and judged for the rate.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import torch
from rich import box
from rich.table import Table
from torch import Tensor

from evaluators.evaluator import Evaluator, EvaluatorSpec
from evaluators.job import Job, Scores
from evaluators.placement import Placement
from experiments.experiment import Experiment
from experiments.search_parts import Parts, evolution_settings
from experiments.trainer import SupernetTrainer, TrainingJob
from experiments.training import open_trainer
from search.decision import Decision
from search.demands import Demands
from search.evaluations import Evaluations, unseen
from search.evolution import Evolution
from search.settings import RacingSettings
from search.state import SearchState
from search.store import EvaluationStore
from search.strategies import STRATEGIES
from supernet.architecture import Architecture
from supernet.training_settings import TrainingSettings

_WORKERS = (1, 2, 4, 8, 16, 32, 64)
_TIMED_STEPS = 4


@dataclass(frozen=True)
class RoundWork:
    """What one round asks of the evaluators, where every action is judged on all prompts.

    Attributes:
        phase: ``remove`` or ``add``.
        actions: that are scored.
        pictures: that are drawn for them, for the architecture before them and for those that are
            scored again.
        waves: batches that can be drawn side by side, one number for every time that the round
            waits for answers.
    """

    phase: str
    actions: int
    pictures: int
    waves: tuple[int, ...]

    def batches(self, workers: int) -> int:
        """How many batches the busiest of some workers draws."""
        return sum(ceil(wave / workers) for wave in self.waves)


@dataclass(frozen=True)
class BatchTime:
    """Time of a batch drawn and judged by one evaluator, in s.

    Attributes:
        pictures: of the batch.
        fixed_s: what it takes once: to encode, decode and judge.
        step_s: what every sampling step takes.
    """

    pictures: int
    fixed_s: float
    step_s: float

    def of(self, pictures: int, steps: int) -> float:
        """Time of another batch, in s, were a picture to take the same time in any."""
        return (self.fixed_s + self.step_s * steps) * pictures / self.pictures


@dataclass(frozen=True)
class Forecast:
    """A search's work and the time of its parts on this machine.

    Attributes:
        rounds: the evaluations.
        batch_s: one batch of them, drawn and judged by one evaluator, in s.
        comparison_batches: of base and found UNet in the last comparison.
        comparison_batch_s: one of these, in s.
        training_s: all trainings, which workers of the evaluators do not shorten, in s; None
            where they are done by workers of Ray.
        workers: as the experiment asks for, if it does.
    """

    rounds: tuple[RoundWork, ...]
    batch_s: float
    comparison_batches: int
    comparison_batch_s: float
    training_s: float | None
    workers: int | None

    @property
    def pictures(self) -> int:
        """Of all rounds."""
        return sum(work.pictures for work in self.rounds)

    def evaluation_s(self, workers: int) -> float:
        """Time of all evaluations on some workers, in s."""
        return self.batch_s * sum(work.batches(workers) for work in self.rounds)

    def comparison_s(self, workers: int) -> float:
        """Time of drawing for the last comparison on some workers, in s."""
        return self.comparison_batch_s * ceil(self.comparison_batches / workers)

    def total_s(self, workers: int) -> float:
        """Everything that was timed, on some workers, in s."""
        drawing = self.evaluation_s(workers) + self.comparison_s(workers)
        return drawing + (self.training_s or 0)

    def rounds_table(self) -> Table:
        """Actions and pictures of every round."""
        table = Table("round", "actions", "pictures", box=box.SIMPLE)
        for number, work in enumerate(self.rounds, 1):
            table.add_row(f"{number}: {work.phase}", str(work.actions), f"{work.pictures:,}")
        actions = sum(work.actions for work in self.rounds)
        table.add_row("together", str(actions), f"{self.pictures:,}")
        return table

    def hours_table(self) -> Table:
        """Hours by the number of workers."""
        table = Table("workers", "evaluating", "comparing", "training", "hours", box=box.SIMPLE)
        for workers in sorted({*_WORKERS, self.workers or 1}):
            parts = [self.evaluation_s(workers), self.comparison_s(workers)]
            table.add_row(
                f"{workers}{' (as asked)' if workers == self.workers else ''}",
                *map(_hours, parts),
                "not timed" if self.training_s is None else _hours(self.training_s),
                _hours(self.total_s(workers)),
            )
        return table


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.3g}"


def forecast(parts: Parts) -> Forecast:
    """Rehearse a search, and time one batch and one step of each training on this machine.

    Args:
        parts: of the search.

    Raises:
        ValueError: if its evaluators draw on GPUs, of which this machine has none.
    """
    placement = parts.experiment.workers.placement
    if placement.gpus and not torch.cuda.is_available():
        raise ValueError(
            f"workers.gpus is {placement.gpus:g}, but this machine has no GPU to time a batch on; "
            "call it on a node that has one, or add --set workers.gpus=0"
        )
    time_ = time_batch(parts.spec, parts.full, placement)
    rounds = rehearse(parts.experiment, parts.demands)
    on_ray = parts.experiment.training.on_ray
    count, sampling = len(parts.comparison.prompts), parts.comparison.sampling
    return Forecast(
        rounds=rounds,
        batch_s=_batch_s(time_, parts.spec),
        comparison_batches=2 * ceil(count / sampling.batch_size),
        comparison_batch_s=_batch_s(time_, parts.comparison),
        training_s=None if on_ray else time_trainings(parts, len(rounds)),
        workers=parts.experiment.workers.count,
    )


def _batch_s(time_: BatchTime, spec: EvaluatorSpec) -> float:
    pictures = min(spec.sampling.batch_size, len(spec.prompts))
    return time_.of(pictures, spec.sampling.num_inference_steps)


def rehearse(experiment: Experiment, demands: Demands) -> tuple[RoundWork, ...]:
    """Run the controller on invented scores, without a picture or a training; what it asked for.

    Without races, which draw less, but how much less is known only when they are over.

    Args:
        experiment: with the search's settings; none of its models or files is opened.
        demands: of the search.
    """
    batch_size = experiment.evaluation.sampling.start().batch_size
    rehearsal = _Rehearsal(batch_size)
    latency = demands.latency
    state = SearchState(latency.inventory.full())
    settings = evolution_settings(experiment, demands.target_ms)
    with TemporaryDirectory() as folder:
        store = EvaluationStore(None, "rehearsal")
        Evolution(
            settings.model_copy(update={"race": RacingSettings(racing=False), "min_clip": None}),
            demands,
            rehearsal,
            Evaluations(rehearsal, store, experiment.evaluation.prompts.count, latency),
            batch_size,
            state,
            Path(folder) / "state.json",
            lambda description, total: nullcontext(unseen),
            lambda decision: None,
            STRATEGIES[experiment.search.strategy],
            experiment.seed,
        ).run()
    return tuple(_round_work(decision, rehearsal) for decision in state.decisions)


def _round_work(decision: Decision, rehearsal: _Rehearsal) -> RoundWork:
    asked = rehearsal.asked[decision.round]
    return RoundWork(
        phase=decision.phase,
        actions=len(decision.candidates),
        pictures=sum(len(job.rows) for jobs in asked for job in jobs),
        waves=tuple(
            sum(ceil(len(job.rows) / rehearsal.batch_size) for job in jobs) for jobs in asked
        ),
    )


class _Rehearsal:
    """Trains nothing and draws nothing: every block is worth something by chance.

    Attributes:
        batch_size: pictures drawn at a time.
        asked: by round, the jobs that were asked for at once.
    """

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.asked: dict[int, list[Sequence[Job]]] = {}

    def train(self, round_: int, architecture: Architecture) -> Mapping[str, Tensor]:
        self.asked[round_] = []
        return {}

    def load_weights(self, weights: Mapping[str, Tensor]) -> str:
        return f"round {max(self.asked)}"

    def scores(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Scores]]:
        self.asked[max(self.asked)].append(jobs)
        for job in jobs:
            blocks = job.architecture.blocks
            score = sum(count * Random(str(block)).random() for block, count in blocks)
            yield job, Scores(tuple(score for _ in job.rows))


def time_batch(spec: EvaluatorSpec, full: Architecture, placement: Placement) -> BatchTime:
    """Draw and judge a batch with few steps, to learn how long one takes on this machine.

    Args:
        spec: of the evaluator.
        full: the architecture to draw with; smaller ones are faster.
        placement: threads and device of the evaluator.
    """
    rows = range(min(spec.sampling.batch_size, len(spec.prompts)))
    seconds = {}
    with _threads(placement.threads):
        for steps in (1, _TIMED_STEPS):
            sampling = spec.sampling.model_copy(update={"num_inference_steps": steps})
            evaluator = Evaluator(replace(spec, sampling=sampling), placement.device)
            if steps == 1:
                evaluator.scores(full, rows)  # the first time is slower
            start = time.perf_counter()
            evaluator.scores(full, rows)
            seconds[steps] = time.perf_counter() - start
    step_s = max(0.0, (seconds[_TIMED_STEPS] - seconds[1]) / (_TIMED_STEPS - 1))
    return BatchTime(len(rows), max(0.0, seconds[1] - step_s), step_s)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def time_trainings(parts: Parts, rounds: int) -> float:
    """Time of all trainings in this process, in s: their steps, as long as one of each takes.

    Args:
        parts: of the search.
        rounds: of decisions; a training comes before each, and one more before the final one.
    """
    section, seed = parts.experiment.training, parts.experiment.seed
    trainings = [
        (settings, count * settings.steps)
        for settings, count in ((section.round, rounds + 1), (section.final, 1))
        if settings.steps
    ]
    if not trainings:
        return 0.0
    trainer = open_trainer(parts.spec.pipeline, section, seed, section)
    return sum(steps * _time_step(trainer, parts, settings) for settings, steps in trainings)


def _time_step(trainer: SupernetTrainer, parts: Parts, settings: TrainingSettings) -> float:
    few = settings.model_copy(update={"steps": 3})  # the first is slower, the last saves
    moments: list[float] = []
    with TemporaryDirectory() as folder:
        trainer.train(
            TrainingJob(parts.start, parts.full, few, parts.experiment.seed),
            Path(folder) / "training.safetensors",
            None,
            lambda done, figures: moments.append(time.perf_counter()),
        )
    return moments[1] - moments[0]
