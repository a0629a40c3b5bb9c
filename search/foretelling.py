"""Another target or table without another picture: what a search's scores foretell.

A search has scored hundreds of sets of removed blocks with one set of weights. A surrogate of them
(:mod:`search.strategies.surrogate`) foretells the score of any other set, and the default strategy
chooses among those as it would if they had been measured. What it chooses is a guess with a doubt,
to be measured by a search that begins with the same scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from evaluators.job import Scores
from search.demands import Demands
from search.evaluations import OnProgress, unseen
from search.round import Round
from search.settings import EvolutionSettings, RacingSettings
from search.strategies.evolution import EvolutionStrategy
from search.strategies.surrogate import FloatArray, Surrogate, as_rows
from supernet.architecture import Architecture

_TRIED = 200  # architectures; they cost nothing
_LEAST = 8  # architectures to learn from


@dataclass(frozen=True)
class Foretold:
    """What would reach a target.

    Attributes:
        after: the architecture.
        clip_before: score of the base, measured.
        clip_after: of ``after``, foretold; also where it was measured, as the best of many measured
            scores is so by luck, too.
        doubt: its standard deviation by the surrogate.
        learned_from: number of architectures that were.
    """

    after: Architecture
    clip_before: float
    clip_after: float
    doubt: float
    learned_from: int


class RecordedScores:
    """Scores as :class:`search.evaluations.FirstScores` gives them, none of them drawn.

    Args:
        base: what blocks are removed from.
        recorded: scores by architecture, the base's on all prompts; those with other changes than
            removals are passed over.
        caution: standard deviations that a foretold score is taken to be too high by, so that what
            resembles the recorded is preferred.

    Raises:
        ValueError: if next to nothing is recorded.
    """

    def __init__(
        self, base: Architecture, recorded: Mapping[Architecture, Scores], caution: float
    ) -> None:
        self._base, self._caution = base, caution
        self._place = {block: i for i, block in enumerate(base)}
        self._before = recorded[base].first
        self.prompts = len(self._before)
        self.asked = 0
        learned = {
            each: fmean(scores.first) - fmean(self._before[: len(scores.first)])
            for each, scores in recorded.items()
            if scores.first and all(each[block] <= count for block, count in base.blocks)
        }
        if len(learned) < _LEAST:
            raise ValueError(f"only {len(learned)} architectures are scored yet; search first")
        self.learned_from = len(learned)
        self._surrogate = Surrogate(self._rows(list(learned)), np.array([*learned.values()]))

    def first(
        self, count: int, architectures: Sequence[Architecture], on_progress: OnProgress = unseen
    ) -> dict[str, Scores]:
        """The base's, moved by the difference that is foretold, less ``caution`` of its doubts."""
        means, doubts = self.foretold(architectures)
        moves = (means - self._caution * doubts).tolist()
        return {
            each.id: Scores(tuple(score + move for score in self._before[:count]))
            for each, move in zip(architectures, moves, strict=True)
        }

    def foretold(self, architectures: Sequence[Architecture]) -> tuple[FloatArray, FloatArray]:
        """Differences of their scores to the base's, with standard deviations, ``(n,)`` each."""
        return self._surrogate.predict(self._rows(architectures))

    def _rows(self, architectures: Sequence[Architecture]) -> FloatArray:
        removed = [
            [self._place[block] for block, count in self._base.blocks if each[block] < count]
            for each in architectures
        ]
        return as_rows(removed, len(self._place))


def foretell(
    base: Architecture,
    recorded: Mapping[Architecture, Scores],
    demands: Demands,
    caution: float = 0.5,
) -> Foretold:
    """Which removals from ``base`` would reach a target at the least loss.

    Args:
        base: what was searched.
        recorded: scores with one set of weights, the base's among them.
        demands: what has to be reached.
        caution: see :class:`RecordedScores`.

    Raises:
        ValueError: if too little is recorded.
    """
    scores = RecordedScores(base, recorded, caution)
    settings = EvolutionSettings(
        target_ms=demands.target_ms,
        caution=0.0,  # it is in the scores
        refine=_TRIED,
        evaluations=2 * _TRIED + len(base.blocks),
        race=RacingSettings(racing=False),
    )
    question = Round(base, demands.target_ms, demands, scores, settings, scores.prompts)
    after = base
    if not question.reaches(base):
        after = EvolutionStrategy().choose(question).after
    before = fmean(recorded[base].first)
    (change,), (doubt,) = scores.foretold([after])
    return Foretold(after, before, before + change, doubt, scores.learned_from)
