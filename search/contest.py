"""Which removals all prompts would rank among the best, as far as the first prompts tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.action import Action
from search.confidence import half_width
from search.decision import Candidate
from search.ranking import Ranking

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Bounds:
    """What is known of a removal's value.

    Attributes:
        losses: CLIP lost for each ms saved, by prompt, caution included, ``(n,)``.
        floor: the value that a negligible loss comes to, below which no value lies.
        measured: the value by the prompts so far.
        lowest: that all prompts may still give.
        highest: likewise.
        place: by which equal values are ordered.
    """

    action: Action
    losses: FloatArray
    floor: float
    measured: float
    lowest: float
    highest: float
    place: int

    @property
    def drawn(self) -> int:
        """Number of prompts."""
        return len(self.losses)

    @property
    def open(self) -> bool:
        """Whether more prompts would tell more."""
        return self.lowest < self.highest


@dataclass(frozen=True)
class Contest:
    """The rules of comparing removals by the first prompts.

    A value is the larger one of what is lost for each ms saved and of a floor, which is known. So
    that many looks at many removals go wrong with no more than the chance ``level`` in all, each
    of the tests has its share of it.

    Attributes:
        ranking: the value.
        useful_ms: what is still to be saved.
        prompts: all there are.
        level: chance that something is taken for sure and is not.
        entrants: how many removals are compared.
    """

    ranking: Ranking
    useful_ms: float
    prompts: int
    level: float
    entrants: int

    def bounds(self, candidate: Candidate, differences: FloatArray, place: int) -> Bounds:
        """What is known of a removal.

        Args:
            candidate: as it was judged last.
            differences: of its CLIP scores, after minus before, by prompt.
            place: by which equal values are ordered.
        """
        measured = self.ranking.value(candidate, self.useful_ms)
        if candidate.delta_latency_ms >= 0:  # saves nothing, whatever it loses
            known = (measured,) * 4
            return Bounds(candidate.action, differences, *known, place)
        saved_ms = min(-candidate.delta_latency_ms, self.useful_ms)
        caution = self.ranking.worst_loss(candidate) + candidate.delta_clip
        losses = (caution - differences) / saved_ms
        floor = self.ranking.negligible / saved_ms
        doubt = self._doubt(losses)
        middle = float(losses.mean())
        lowest, highest = measured, measured
        if doubt:
            lowest, highest = (max(middle + side * doubt, floor) for side in (-1, 1))
        return Bounds(candidate.action, losses, floor, measured, lowest, highest, place)

    def doubtful(self, removals: Sequence[Bounds], best: int) -> list[Bounds]:
        """Those of which more has to be known to say which so many are the best."""
        order = sorted(removals, key=lambda each: (each.measured, each.place))
        last_in, first_out = order[best - 1], order[best]
        pairs = [(each, first_out) for each in order[:best]]
        pairs += [(last_in, each) for each in order[best:]]
        doubtful = [each for pair in pairs if not self.surely_before(*pair) for each in pair]
        return [each for each in order if each.open and each in doubtful]

    def surely_before(self, one: Bounds, other: Bounds) -> bool:
        """Whether all prompts would surely rank a removal before another."""
        if (one.highest, one.place) < (other.lowest, other.place):
            return True
        if not (one.open or other.open):
            return False
        # Losses are compared prompt by prompt, which tells more than either by itself.
        both = min(one.drawn, other.drawn)
        gaps = other.losses[:both] - one.losses[:both]
        loses_less = gaps.mean() > self._doubt(gaps)
        return bool(loses_less) and (one.floor, one.place) < (other.lowest, other.place)

    def _doubt(self, values: FloatArray) -> float:
        """How far their mean may be from that of all prompts, to each side."""
        tests = 3 * self.entrants  # two bounds for each, and a comparison with one of the others
        width = half_width(len(values), 2 * self.level / tests, self.prompts)
        return float(width * values.std(ddof=1)) if width else 0.0
