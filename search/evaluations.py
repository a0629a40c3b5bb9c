"""Scores of architectures: from the store where they are known, else drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isfinite
from statistics import fmean
from typing import Protocol

from torch import Tensor

from evaluators.job import Job, Scores
from search.store import EvaluationStore
from supernet.architecture import Architecture

# Told of the work done and the figures beside it; see experiments.progress.
OnProgress = Callable[[int, dict[str, float]], None]


def unseen(done: int, figures: dict[str, float]) -> None:
    """Of work that is shown as part of something longer."""


class Scorer(Protocol):
    """Who scores architectures, as :class:`evaluators.pool.Evaluators` do."""

    def load_weights(self, weights: Mapping[str, Tensor]) -> str: ...

    def scores(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Scores]]: ...


class FirstScores(Protocol):
    """Who knows scores of architectures by prompts, as :class:`Evaluations` does."""

    @property
    def prompts(self) -> int: ...

    @property
    def asked(self) -> int: ...

    def first(
        self, count: int, architectures: Sequence[Architecture], on_progress: OnProgress = ...
    ) -> dict[str, Scores]: ...


class Evaluations:
    """Scores with the weights that :meth:`use` was given last.

    Args:
        scorer: draws and judges.
        store: where scores are kept, and looked up before anything is drawn.
        prompts: how many there are.
        latency: of any architecture, in ms, which the store keeps with its scores.

    Attributes:
        drawn: pictures that had to be drawn so far.
    """

    def __init__(
        self,
        scorer: Scorer,
        store: EvaluationStore,
        prompts: int,
        latency: Callable[[Architecture], float],
    ) -> None:
        self.prompts = prompts
        self.drawn = 0
        self._asked: dict[str, int] = {}  # by architecture, with these weights
        self._asked_before = 0
        self._scorer = scorer
        self._store = store
        self._latency = latency
        self._weights, self._round = "", 0

    @property
    def asked(self) -> int:
        """Different pictures that were asked for, drawn or known; with all weights so far.

        Those of one round do not depend on what other rounds have asked for.
        """
        return self._asked_before + sum(self._asked.values())

    def use(self, weights: Mapping[str, Tensor], round_: int) -> str:
        """Score with these weights from now on, in this round; their digest."""
        self._asked_before = self.asked
        self._asked.clear()
        self._weights, self._round = self._scorer.load_weights(weights), round_
        return self._weights

    def first(
        self,
        count: int,
        architectures: Sequence[Architecture],
        on_progress: OnProgress = unseen,
    ) -> dict[str, Scores]:
        """Scores of the first ``count`` prompts, by architecture id.

        Raises:
            ValueError: if a score is no number, because the weights are none.
        """
        wanted = {architecture.id: architecture for architecture in architectures}
        known = {i: self._store.get(each, self._weights) for i, each in wanted.items()}
        jobs = [
            Job(each, range(len(known[i].first), count))
            for i, each in wanted.items()
            if len(known[i].first) < count
        ]
        for i in wanted:
            self._asked[i] = max(count, self._asked.get(i, 0))
        answers = self._scorer.scores(jobs) if jobs else ()
        for done, (job, scores) in enumerate(answers, start=1 + len(wanted) - len(jobs)):
            architecture = job.architecture
            self._check(job, scores)
            self._store.add(job, self._weights, scores, self._latency(architecture), self._round)
            known[architecture.id] += scores
            self.drawn += len(job.rows)
            on_progress(done, {"CLIP": fmean(known[architecture.id].first)})
        return {i: scores[:count] for i, scores in known.items()}

    def _check(self, job: Job, scores: Scores) -> None:
        if not all(map(isfinite, scores.first)):
            raise ValueError(
                f"round {self._round}: architecture {job.architecture.id} draws no picture (its "
                "CLIP score is no number): training has diverged; start again with a "
                "lower training.round.learning_rate"
            )
