"""Which of the scored actions a round executes (Algorithm 1 of SnapFusion, "a group at a time").

The paper scores every action by itself and executes the best few at once. Blocks that stand in
for each other look free one by one and are dear together, so a group of removals can be scored
again while it grows: see :func:`choose_removals`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

from search.action import Action
from search.decision import Candidate
from search.ranking import Ranking
from search.settings import EvolutionSettings
from supernet.architecture import Architecture

Latency = Callable[[Architecture], float]


class Judge(Protocol):
    """Who judges removals, as :class:`search.race.Race` does.

    Attributes:
        ranking: what they are ordered by.
    """

    @property
    def ranking(self) -> Ranking: ...

    def enter(self, current: Architecture, actions: Sequence[Action]) -> Sequence[Candidate]:
        """Judge actions (again) on top of an architecture."""
        ...

    def settle(
        self, candidates: Sequence[Candidate], wanted: int, useful_ms: float
    ) -> Sequence[Candidate]:
        """Judge them better until it is clear which have the smallest values; all of them."""
        ...


def choose_removals(
    candidates: Sequence[Candidate],
    current: Architecture,
    latency: Latency,
    goal_ms: float,
    settings: EvolutionSettings,
    judge: Judge,
    may_recheck: Callable[[], bool] = lambda: True,
) -> list[Candidate]:
    """The removals with the smallest CLIP loss per ms saved, until the goal is met.

    Or until they are as many, or lose together as much, as the settings allow in a round.

    Time saved beyond the target is worth nothing: near it a removal counts with what is still to
    be saved, so that a small one that suffices is not passed over for a big one.

    With ``settings.recheck`` the choice is a lazy greedy one (Minoux 1978): after every removal
    the best ones left are scored again on top of the group, so many at a time, until the best of
    all is one whose score is of now. What is further behind keeps its old score, which spares most
    of the work.

    Args:
        candidates: scored removals; those that save no time are left out.
        current: the architecture as it is.
        latency: of any architecture, in ms.
        goal_ms: latency to reach in this round.
        settings: the target, and how to recheck.
        judge: of the candidates; nothing enters again if ``settings.recheck`` is 0.
        may_recheck: whether there is a budget for it.

    Returns:
        At least one if any saves time, best first, each as it was last scored. Equal values keep
        the given order.
    """
    place = {candidate.action: i for i, candidate in enumerate(candidates)}

    def by_value(some: Sequence[Candidate]) -> list[Candidate]:
        useful_ms = latency(current) - settings.target_ms
        return sorted(some, key=lambda c: (judge.ranking.value(c, useful_ms), place[c.action]))

    def settled(some: Sequence[Candidate]) -> list[Candidate]:
        # Which one comes last is a question of its own: what is still useful then is known then.
        wanted = max(1, _how_many(by_value(some), current, latency, goal_ms) - 1)
        if settings.actions is not None:
            wanted = min(wanted, settings.actions - len(taken))
        return by_value(judge.settle(some, wanted, latency(current) - settings.target_ms))

    left = [candidate for candidate in candidates if candidate.delta_latency_ms < 0]
    may_lose = _may_lose(left, settings)
    stale: set[Action] = set()
    taken: list[Candidate] = []
    while left and len(taken) != settings.actions and not (taken and latency(current) <= goal_ms):
        left = settled(left)
        if left[0].action in stale and may_recheck():
            again = [c.action for c in left if c.action in stale][: settings.recheck]
            stale.difference_update(again)
            left = [c for c in left if c.action not in again]
            left.extend(judge.enter(current, again))
            continue
        best = left.pop(0)
        if taken and -sum(c.delta_clip for c in (*taken, best)) > may_lose:
            break
        taken.append(best)
        before, current = current, best.action.apply(current)
        left = [c for c in left if _still_means(c.action, before, current, settings)]
        if settings.recheck:
            stale = {candidate.action for candidate in left}
    return taken


def _may_lose(candidates: Sequence[Candidate], settings: EvolutionSettings) -> float:
    """CLIP score that the removals of a round may cost together."""
    if settings.round_loss is None or not candidates:
        return math.inf
    now = candidates[0].clip - candidates[0].delta_clip
    return settings.round_loss * abs(now)


def _how_many(
    best_first: Sequence[Candidate], current: Architecture, latency: Latency, goal_ms: float
) -> int:
    """Of these it takes to reach the goal, the best first."""
    for count, candidate in enumerate(best_first):
        if latency(current) <= goal_ms:
            return max(1, count)
        if candidate.action.changes(current):
            current = candidate.action.apply(current)
    return len(best_first)


def _still_means(
    action: Action, before: Architecture, after: Architecture, settings: EvolutionSettings
) -> bool:
    """Whether an action is still one after another that may have shared blocks with it.

    Where nothing is scored again, its score must be of the same blocks too.
    """
    left = action.changes(after)
    return bool(left) and (settings.recheck > 0 or left == action.changes(before))


def choose_additions(
    candidates: Sequence[Candidate], current: Architecture, latency: Latency, target_ms: float
) -> list[Candidate]:
    """The additions with the largest CLIP gain per ms that together stay within the target.

    A copy whose gain cannot be told from zero is not worth its time. A block that was removed comes
    back for any gain: within the target its time is free, and training knew the UNet with it.
    """
    worthwhile = [
        candidate
        for candidate in candidates
        if candidate.delta_clip > 0
        and (candidate.distinguishable or candidate.action.brings_back(current))
    ]
    taken: list[Candidate] = []
    before = current
    for candidate in sorted(worthwhile, key=lambda candidate: -candidate.value):
        action = candidate.action
        if action.changes(current) != action.changes(before):
            continue  # it shares blocks with one that was taken
        grown = action.apply(current)
        if latency(grown) <= target_ms:
            taken.append(candidate)
            current = grown
    return taken
