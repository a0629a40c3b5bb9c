"""At which latencies the trials of a sweep are compared."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from search.decision import Decision
from search.demands import Demands
from search.settings import EvolutionSettings


@dataclass(frozen=True)
class Marks:
    """Latencies on the way to the target, equal ratios apart; the last is the target.

    Trials may go their way in other rounds, or so many actions at a time. What compares is the
    CLIP score at the same latency. Where a decision passes a mark, it is taken from the straight
    line between the architectures before and after; at the target it is the score after, as
    measured.

    Attributes:
        demands: of the experiment.
        count: how many there are: ``search.rounds`` of the experiment.
    """

    demands: Demands
    count: int

    def passed(self, decision: Decision) -> tuple[tuple[int, float], ...]:
        """Marks, from 1, that a decision reaches first, with the CLIP score at each."""
        before_ms, after_ms = self.demands(decision.before), self.demands(decision.after)
        change = decision.clip_after - decision.clip_before
        marks = []
        for mark, goal_ms in enumerate(self._goals_ms, start=1):
            if before_ms > goal_ms >= after_ms:
                share = (before_ms - goal_ms) / (before_ms - after_ms)
                last = mark == self.count
                marks.append((mark, decision.clip_before + (1 if last else share) * change))
        return tuple(marks)

    @cached_property
    def _goals_ms(self) -> tuple[float, ...]:
        base_ms = self.demands(self.demands.latency.inventory.full())
        pace = EvolutionSettings(target_ms=self.demands.target_ms, rounds=self.count)
        return tuple(pace.goal_ms(base_ms, mark) for mark in range(1, self.count + 1))
