"""The pace of a search, and Algorithm 1's choice against a literal re-statement of it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_search import toy_inventory

from search.action import Action, additions, removals
from search.choice import choose_additions, choose_removals
from search.decision import Candidate
from search.ranking import Ranking
from search.settings import EvolutionSettings
from supernet.architecture import Architecture, BlockId

INVENTORY = toy_inventory()
FULL = INVENTORY.full()


def test_goals_shrink_by_the_same_ratio_every_round() -> None:
    schedule = EvolutionSettings(target_ms=25, rounds=4)
    goals = [100.0, *(schedule.goal_ms(100, round_) for round_ in (1, 2, 3, 4))]
    ratios = [b / a for a, b in itertools.pairwise(goals)]
    assert ratios == pytest.approx([0.25**0.25] * 4)
    assert goals[-1] == schedule.goal_ms(100, 9) == 25


# In whole numbers, so that the re-statement is exact.
effects = st.lists(
    st.tuples(st.integers(-12, 12), st.integers(-2, 9)),
    min_size=len(FULL.blocks),
    max_size=len(FULL.blocks),
)


def candidates_of(actions: Sequence[Action], pairs: Sequence[tuple[int, int]]) -> list[Candidate]:
    """With ΔCLIP and ΔLatency in the action's own direction of change."""
    return [
        Candidate(action, 0.5, float(gain), 0.25, float(action.change * ms), 16)
        for action, (gain, ms) in zip(actions, pairs, strict=True)
    ]


def summed(
    candidates: Sequence[Candidate], base_ms: float, start: Architecture
) -> Callable[[Architecture], float]:
    """The latency function under which every candidate has the latency that it claims."""
    by_block = {c.action.target: c.action.change * c.delta_latency_ms for c in candidates}
    return lambda architecture: (
        base_ms + sum(by_block.get(b, 0.0) * (n - start[b]) for b, n in architecture.blocks)
    )


def paper(target_ms: float = 1e-9, **changes: float) -> EvolutionSettings:
    """No recheck, and a target far below whatever is removed."""
    chosen = {"target_ms": target_ms, "recheck": 0} | changes
    return EvolutionSettings.model_validate(chosen)


AS_MEASURED = Ranking()


@dataclass(frozen=True)
class ByAllPrompts:
    """A judge for whom everything is settled; ``enter`` is what it says on top of others."""

    enter: Callable[[Architecture, Sequence[Action]], Sequence[Candidate]]
    ranking: Ranking = AS_MEASURED

    def settle(
        self, candidates: Sequence[Candidate], wanted: int, useful_ms: float
    ) -> Sequence[Candidate]:
        return candidates


def _never(reduced: Architecture, actions: Sequence[Action]) -> Sequence[Candidate]:
    raise AssertionError("nothing was to be scored again")


never = ByAllPrompts(_never)
careful = ByAllPrompts(_never, Ranking(caution=1.0))


@given(effects, st.integers(1, 59), st.integers(0, 30), st.sampled_from([0, 4, 8]))
@settings(deadline=None, max_examples=100)
def test_removals_are_those_of_algorithm_1(
    pairs: list[tuple[int, int]], target: int, above: int, caution: int
) -> None:
    """Caution takes a standard error of 1/4 off every ΔCLIP, ``caution`` times.

    What is saved counts as far as the target.
    """
    candidates = candidates_of(list(removals(FULL)), pairs)
    latency = summed(candidates, 60.0, FULL)
    goal = target + above

    left = [c for c in candidates if c.delta_latency_ms < 0]
    expected: list[Candidate] = []
    ms = 60
    while left and (not expected or ms > goal):
        lost = [int(-c.delta_clip) + caution // 4 for c in left]
        saved = [min(int(-c.delta_latency_ms), ms - target) for c in left]
        lost_per_ms = [Fraction(*pair) for pair in zip(lost, saved, strict=True)]
        best = left.pop(lost_per_ms.index(min(lost_per_ms)))
        expected.append(best)
        ms += int(best.delta_latency_ms)

    judge = ByAllPrompts(_never, Ranking(caution))
    chosen = choose_removals(candidates, FULL, latency, goal, paper(target), judge)
    assert chosen == expected


pairs_of_blocks = st.dictionaries(
    st.frozensets(st.sampled_from(list(FULL)), min_size=2, max_size=2),
    st.integers(0, 9),
    max_size=12,
)


@given(effects, pairs_of_blocks, st.integers(1, 59), st.integers(0, 30), st.integers(1, 4))
@settings(deadline=None, max_examples=200)
def test_rechecking_finds_the_best_group_member_every_time(
    pairs: list[tuple[int, int]],
    in_common: dict[frozenset[BlockId], int],
    target: int,
    above: int,
    recheck: int,
) -> None:
    """Where blocks only ever become dearer together, it equals scoring all after every removal."""
    alone = candidates_of(list(removals(FULL)), pairs)
    goal = target + above
    latency = summed(alone, 60.0, FULL)
    asked = []

    def rescore(reduced: Architecture, actions: Sequence[Action]) -> list[Candidate]:
        asked.append(len(actions))
        gone = set(reduced.removed)
        extra = {a: {a.target} | gone for a in actions}
        return [
            replace(
                c,
                delta_clip=c.delta_clip
                - sum(
                    loss
                    for pair, loss in in_common.items()
                    if c.action.target in pair and pair <= extra[c.action]
                ),
            )
            for c in alone
            if c.action in extra
        ]

    expected: list[Candidate] = []
    left = [c.action for c in alone if c.delta_latency_ms < 0]
    current = FULL
    while left and (not expected or latency(current) > goal):
        now = rescore(current, left)
        useful_ms = int(latency(current)) - target
        saved = [min(int(-c.delta_latency_ms), useful_ms) for c in now]
        lost_per_ms = [Fraction(int(-c.delta_clip), ms) for c, ms in zip(now, saved, strict=True)]
        expected.append(now[lost_per_ms.index(min(lost_per_ms))])
        left.remove(expected[-1].action)
        current = expected[-1].action.apply(current)

    asked.clear()
    taken = choose_removals(
        alone, FULL, latency, goal, paper(target, recheck=recheck), ByAllPrompts(rescore)
    )
    assert taken == expected
    assert all(1 <= n <= recheck for n in asked)


def test_what_fell_behind_its_group_is_put_back() -> None:
    one, other, dear = (
        Candidate(Action(-1, block), 0.9, delta_clip, 0.001, -1.0, 16)
        for block, delta_clip in zip(FULL, (-0.001, -0.002, -0.01), strict=False)
    )
    latency = summed([one, other, dear], 60.0, FULL)

    def rescore(reduced: Architecture, actions: Sequence[Action]) -> list[Candidate]:
        assert reduced == FULL.without([one.action.target])
        now = {other.action: replace(other, delta_clip=-0.5), dear.action: dear}
        return [now[action] for action in actions]

    group = [one, other, dear]
    assert choose_removals(group, FULL, latency, 58.0, paper(), never) == [one, other]
    rechecked = choose_removals(group, FULL, latency, 58.0, paper(recheck=1), ByAllPrompts(rescore))
    assert rechecked == [one, dear]


def test_the_last_removal_saves_what_is_needed_and_no_more_than_pays() -> None:
    """Per ms the big one is the better; to save the last ms, the small one loses less."""
    big, small = (
        Candidate(Action(-1, block), 0.9, delta_clip, 0.0, ms, 16)
        for block, delta_clip, ms in zip(FULL, (-0.05, -0.02), (-10.0, -1.0), strict=False)
    )
    latency = summed([big, small], 60.0, FULL)
    assert choose_removals([big, small], FULL, latency, 59.0, paper(59.0), never) == [small]
    assert choose_removals([big, small], FULL, latency, 55.0, paper(55.0), never) == [big]
    # A round's goal is no such limit: the next round saves on.
    assert choose_removals([big, small], FULL, latency, 59.0, paper(49.0), never) == [big]


@given(effects, st.integers(0, 40))
@settings(deadline=None, max_examples=100)
def test_additions_are_those_of_algorithm_1(pairs: list[tuple[int, int]], slack: int) -> None:
    start = INVENTORY.smallest()
    candidates = candidates_of(list(additions(start, INVENTORY)), pairs)
    candidates = [c for c in candidates if c.delta_latency_ms > 0]
    latency = summed(candidates, 20.0, start)

    left = [c for c in candidates if c.delta_clip > 1.96 * 0.25]
    expected: list[Candidate] = []
    room = slack
    while left:
        gained_per_ms = [Fraction(int(c.delta_clip), int(c.delta_latency_ms)) for c in left]
        best = left.pop(gained_per_ms.index(max(gained_per_ms)))
        if best.delta_latency_ms <= room:
            expected.append(best)
            room -= int(best.delta_latency_ms)

    assert choose_additions(candidates, start, latency, 20.0 + slack) == expected


def test_a_sure_loss_of_nothing_goes_before_a_lucky_gain() -> None:
    lucky, sure = (
        Candidate(Action(-1, block), 0.9, delta_clip, error, -1.0, 16)
        for block, delta_clip, error in zip(FULL, (0.02, -0.0001), (0.03, 0.0001), strict=False)
    )
    latency = summed([lucky, sure], 60.0, FULL)
    assert choose_removals([lucky, sure], FULL, latency, 59.0, paper(), never) == [lucky]
    assert choose_removals([lucky, sure], FULL, latency, 59.0, paper(), careful) == [sure]


def test_an_unknown_error_leaves_the_order_of_the_values() -> None:
    """One prompt has no standard error; its scores are all there is."""
    dear, cheap = (
        Candidate(Action(-1, block), 0.9, delta_clip, math.inf, -1.0, 1)
        for block, delta_clip in zip(FULL, (-0.02, -0.01), strict=False)
    )
    latency = summed([dear, cheap], 60.0, FULL)
    assert choose_removals([dear, cheap], FULL, latency, 59.0, paper(), careful) == [cheap]


def test_what_saves_no_time_is_never_removed() -> None:
    useless, slower, paying = (
        Candidate(Action(-1, block), 0.9, delta_clip, 0.001, ms, 16)
        for block, delta_clip, ms in zip(FULL, (0.1, 0.1, -0.1), (0.0, 2.0, -1.0), strict=False)
    )
    latency = summed([useless, slower, paying], 60.0, FULL)
    assert choose_removals([useless, slower], FULL, latency, 0.0, paper(), never) == []
    assert choose_removals([useless, slower, paying], FULL, latency, 0.0, paper(), never) == [
        paying
    ]


def test_a_block_comes_back_for_any_gain_and_a_copy_for_one_beyond_doubt() -> None:
    back, copied = list(FULL)[:2]
    current = FULL.without([back])
    certain, doubtful = (
        {block: Candidate(Action(1, block), 0.9, 0.1, error, 1.0, 16) for block in (back, copied)}
        for error in (0.01, 0.2)
    )
    latency = summed(list(certain.values()), 20.0, current)

    def chosen(*candidates: Candidate) -> list[Candidate]:
        return choose_additions(candidates, current, latency, 22.0)

    assert chosen(certain[back], certain[copied]) == [certain[back], certain[copied]]
    assert chosen(doubtful[back], doubtful[copied]) == [doubtful[back]]
    assert chosen(replace(doubtful[back], delta_clip=-0.01)) == []
