"""The exact answer of the additive model: which removals save enough and lose least together.

Every block has a loss and a saving, measured alone; what is removed must save what the goal asks
for, at the least sum of losses. This is the 0/1 knapsack problem turned round (a covering problem),
solved by dynamic programming over the time saved. Its nearest relative is the mixed-integer search
of Puzzle (Bercovich et al. 2024) over blocks scored one by one, which chooses among alternatives
for every block where this one keeps or removes it. Blocks are not additive, so the best few sets of
the model are measured as wholes.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from search.action import Action
from search.round import Answer, Round

_STEPS = 2000  # into which the time to save is divided; savings are rounded down to them
_VERIFIED = 16  # of the model's best sets

_Sets = list[tuple[float, int]]  # loss, and which items as bits; in ascending order


class Knapsack:
    """Solves the additive model, then verifies its best sets by measurement."""

    def choose(self, question: Round) -> Answer:
        race = question.race()
        blocks = question.removable
        judged = race.enter(question.current, [Action(-1, block) for block in blocks])
        judged = race.judge_all(judged)
        losses = [race.ranking.worst_loss(candidate) for candidate in judged]
        savings = [-candidate.delta_latency_ms for candidate in judged]
        needed = question.latency(question.current) - question.goal_ms
        sets = best_sets(losses, savings, needed, min(_VERIFIED, max(1, question.left)))
        chosen = [question.without([blocks[i] for i in items]) for items in sets]
        fast = [each for each in chosen if question.reaches(each)]
        if not fast:  # latencies that do not add up, as those of layers in one block
            fast = [question.without(blocks)]
        question.measure(fast)
        after = max(fast, key=lambda each: question.known.get(each, float("-inf")))
        return Answer(
            after,
            tuple(race.alone.values()),
            tuple(c for c, block in zip(judged, blocks, strict=True) if after[block] == 0),
            (f"the best of {len(fast)} sets that cost least by the sum of single effects",),
        )

    def expected(self, question: Round) -> int:
        return len(question.removable) + _VERIFIED


def best_sets(
    losses: Sequence[float], savings: Sequence[float], needed: float, count: int
) -> list[list[int]]:
    """Sets of items that save enough, with the smallest sums of losses, best first.

    Args:
        losses: of each item; may be negative.
        savings: of each, positive.
        needed: sum of savings to reach.
        count: how many sets at most.

    Returns:
        Items of each set. Savings are counted in steps of ``needed / 2000``, rounded down, so a
        set that saves only just enough may be missed; none saves too little.
    """
    step = needed / _STEPS
    # By steps saved so far, all beyond the last as the last.
    table: list[_Sets] = [[] for _ in range(_STEPS + 1)]
    table[0] = [(0.0, 0)]
    for item, (loss, saving) in enumerate(zip(losses, savings, strict=True)):
        gain = int(saving / step + 1e-9)
        with_it: list[_Sets] = [[] for _ in table]
        for saved, sets in enumerate(table):
            if sets:
                reached = min(_STEPS, saved + gain)
                more = [(known + loss, bits | 1 << item) for known, bits in sets]
                with_it[reached] = _merged(with_it[reached], more, count)
        table = [_merged(old, new, count) for old, new in zip(table, with_it, strict=True)]
    return [[i for i in range(len(losses)) if bits >> i & 1] for _, bits in table[-1]]


def _merged(some: _Sets, others: _Sets, count: int) -> _Sets:
    if not some or not others:
        return some or others
    return heapq.nsmallest(count, heapq.merge(some, others))
