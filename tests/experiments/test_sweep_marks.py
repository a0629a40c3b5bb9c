"""At which latencies trials are compared, and by which scores."""

from __future__ import annotations

from itertools import pairwise

import pytest
from in_process import invented_table

from evaluators.latency import TableLatency
from experiments.sweep.marks import Marks
from experiments.unets import choose_unet
from search.decision import Decision
from search.demands import Demands, count_limits
from supernet.architecture import Architecture

INVENTORY = choose_unet("shapes").inventory
LATENCY = TableLatency(INVENTORY, invented_table(INVENTORY))
FULL = INVENTORY.full()
BASE_MS = LATENCY(FULL)
DEMANDS = Demands(LATENCY, 0.7 * BASE_MS)


def way(demands: Demands) -> list[Architecture]:
    """From the base to the target, block by block."""
    steps = [FULL]
    for block in FULL:
        if demands.met(steps[-1]):
            break
        without = steps[-1].with_multiplicity(block, 0)
        if demands(without) < demands(steps[-1]):
            steps.append(without)
    assert demands.met(steps[-1])
    return steps


def decision(before: Architecture, after: Architecture, clips: tuple[float, float]) -> Decision:
    ms = LATENCY(before), LATENCY(after)
    return Decision(1, "remove", "w", before, clips[0], ms[0], (), (), after, clips[1], ms[1])


WAY = way(DEMANDS)


def test_one_decision_to_the_target_passes_all_marks() -> None:
    after_ms = LATENCY(WAY[-1])
    passed = Marks(DEMANDS, 3).passed(decision(WAY[0], WAY[-1], (0.9, 0.6)))
    expected = [
        0.9 - 0.3 * (BASE_MS - goal_ms) / (BASE_MS - after_ms)
        for goal_ms in (BASE_MS * 0.7 ** (1 / 3), BASE_MS * 0.7 ** (2 / 3))
    ]
    assert [mark for mark, _ in passed] == [1, 2, 3]
    assert [clip for _, clip in passed] == pytest.approx([*expected, 0.6])
    # What is delivered at the target is what was measured, not what lies between.
    assert passed[-1][1] == 0.6


@pytest.mark.parametrize("count", [1, 2, 5])
def test_however_the_way_is_divided_every_mark_is_passed_once(count: int) -> None:
    marks = Marks(DEMANDS, count)
    for steps in (WAY, WAY[:1] + WAY[-1:], [*WAY[::3], WAY[-1]]):
        passed = [
            mark
            for before, after in pairwise(steps)
            if after != before
            for mark, _ in marks.passed(decision(before, after, (0.9, 0.8)))
        ]
        assert passed == list(range(1, count + 1))


def test_scores_lie_on_the_line_between_before_and_after() -> None:
    """With CLIP linear in latency all along, every way gives the same score at a mark."""

    def clip(each: Architecture) -> float:
        return 0.5 + 0.01 * LATENCY(each)

    marks = Marks(DEMANDS, 4)
    found = []
    for steps in (WAY, [WAY[0], WAY[-1]]):
        told = {}
        for before, after in pairwise(steps):
            told.update(marks.passed(decision(before, after, (clip(before), clip(after)))))
        found.append([told[mark] for mark in (1, 2, 3, 4)])
    assert found[0] == pytest.approx(found[1])


def test_additions_below_the_target_pass_none() -> None:
    without = [WAY[-1].with_multiplicity(b, 0) for b, n in WAY[-1].blocks if n]
    smaller = min(without, key=LATENCY)
    assert LATENCY(smaller) < LATENCY(WAY[-1])
    marks = Marks(DEMANDS, 2)
    assert marks.passed(decision(smaller, WAY[-1], (0.5, 0.6))) == ()


def test_where_more_is_limited_the_last_mark_is_where_all_is_kept() -> None:
    most = 0.5 * INVENTORY.parameters(FULL)
    demands = Demands(LATENCY, 0.9 * BASE_MS, tuple(count_limits(INVENTORY, parameters=most)))
    steps = way(demands)
    last = steps[-2:]
    assert INVENTORY.parameters(last[0]) > most >= INVENTORY.parameters(last[1])
    passed = Marks(demands, 3).passed(decision(*last, (0.9, 0.8)))
    assert passed[-1] == (3, 0.8)
