"""Which of the scored actions a round executes (Algorithm 1 of SnapFusion, "a group at a time").

The paper scores every action by itself and executes the best few at once. Blocks that stand in
for each other look free one by one and are dear together, so a group of removals can be scored
again while it grows: see :func:`choose_removals`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from search.action import Action
from search.decision import Candidate
from supernet.architecture import Architecture

Latency = Callable[[Architecture], float]

# Scores actions on top of an architecture: (architecture, actions) to their candidates.
Rescore = Callable[[Architecture, Sequence[Action]], Sequence[Candidate]]


def choose_removals(
    candidates: Sequence[Candidate],
    current: Architecture,
    latency: Latency,
    goal_ms: float,
    caution: float = 0.0,
    recheck: int = 0,
    rescore: Rescore | None = None,
) -> list[Candidate]:
    """The removals with the smallest CLIP loss per ms saved, until the goal is met.

    With ``recheck`` the choice is a lazy greedy one (Minoux 1978): after every removal the best
    ones left are scored again on top of the group, so many at a time, until the best of all is
    one whose score is of now. What is further behind keeps its old score, which spares most of
    the work.

    Args:
        candidates: scored removals; those that save no time are left out.
        current: the architecture as it is.
        latency: of any architecture, in ms.
        goal_ms: latency to reach.
        caution: standard errors by which to rank them worse than measured; none in the paper.
        recheck: how many are scored again at a time; 0, the paper's way, trusts the first scores.
        rescore: scores them; not called if ``recheck`` is 0.

    Returns:
        At least one if any saves time, best first, each as it was last scored. Equal values keep
        the given order.
    """
    place = {candidate.action: i for i, candidate in enumerate(candidates)}

    def rank(candidate: Candidate) -> tuple[float, int]:
        return candidate.cautious_value(caution), place[candidate.action]

    left = sorted((c for c in candidates if c.delta_latency_ms < 0), key=rank)
    stale: set[Action] = set()
    taken: list[Candidate] = []
    while left and not (taken and latency(current) <= goal_ms):
        if left[0].action in stale:
            assert rescore is not None
            again = [c.action for c in left if c.action in stale][:recheck]
            stale.difference_update(again)
            left = [c for c in left if c.action not in again]
            left = sorted([*left, *rescore(current, again)], key=rank)
            continue
        best = left.pop(0)
        taken.append(best)
        current = best.action.apply(current)
        if recheck:
            stale = {candidate.action for candidate in left}
    return taken


def choose_additions(
    candidates: Sequence[Candidate], current: Architecture, latency: Latency, target_ms: float
) -> list[Candidate]:
    """The additions with the largest CLIP gain per ms that together stay within the target.

    An addition whose gain cannot be told from zero is not worth its time.
    """
    worthwhile = [c for c in candidates if c.delta_clip > 0 and c.distinguishable]
    taken: list[Candidate] = []
    for candidate in sorted(worthwhile, key=lambda candidate: -candidate.value):
        grown = candidate.action.apply(current)
        if latency(grown) <= target_ms:
            taken.append(candidate)
            current = grown
    return taken
