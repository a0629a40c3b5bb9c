"""What is surely among the best, and how values are ordered where losses are negligible."""

from __future__ import annotations

from statistics import mean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_search import toy_inventory

from evaluators.job import Scores
from search.action import Action
from search.contest import Bounds, Contest
from search.decision import Candidate, score_action
from search.ranking import Ranking

BLOCKS = list(toy_inventory().full())
PROMPTS = 512


def judged(place: int, losses: list[float], saved_ms: float, of: int | None = None) -> Candidate:
    before = Scores((0.9,) * (of or len(losses)))
    after = Scores(tuple(0.9 - loss for loss in losses))
    action = Action(-1, BLOCKS[place])
    return score_action(action, before, before[: len(losses)], after, -saved_ms)


def bounds(contest: Contest, candidate: Candidate, losses: list[float]) -> Bounds:
    place = [Action(-1, block) for block in BLOCKS].index(candidate.action)
    return contest.bounds(candidate, -np.asarray(losses), place)


def contest(negligible: float = 0.002, useful_ms: float = 100.0, entrants: int = 4) -> Contest:
    return Contest(Ranking(1.0, negligible), useful_ms, PROMPTS, 0.05, entrants)


def test_what_loses_next_to_nothing_is_ranked_by_what_it_saves() -> None:
    gains, loses, saves = (
        judged(place, [loss] * 4, ms)
        for place, (loss, ms) in enumerate(((-0.001, 1.0), (0.001, 1.0), (0.0019, 2.0)))
    )
    ranking = Ranking(negligible=0.002)
    assert ranking.value(gains) == ranking.value(loses) == pytest.approx(0.002)
    assert ranking.value(saves) == pytest.approx(0.001)
    assert Ranking().value(gains) == pytest.approx(-0.001)
    dear = judged(3, [0.01] * 4, 1.0)
    assert ranking.value(dear) == Ranking().value(dear) == pytest.approx(0.01)


@given(
    st.lists(
        st.tuples(st.floats(-0.01, 0.03), st.floats(0, 0.05), st.floats(0.2, 3)),
        min_size=3,
        max_size=6,
    ),
    st.sampled_from([0.0005, 0.002, 0.02]),
    st.floats(0.5, 4),
    st.integers(0, 2**31),
)
@settings(deadline=None, max_examples=60)
def test_on_all_prompts_the_order_is_that_of_the_values(
    effects: list[tuple[float, float, float]], negligible: float, useful_ms: float, seed: int
) -> None:
    rules = contest(negligible, useful_ms, len(effects))
    noise = np.random.default_rng(seed).standard_normal((len(effects), PROMPTS))
    known = []
    for place, (loss, spread, ms) in enumerate(effects):
        losses = (loss + spread * noise[place]).tolist()
        candidate = judged(place, losses, ms)
        known.append((bounds(rules, candidate, losses), candidate))
    for one, first in known:
        assert not one.open
        assert one.lowest == one.highest == pytest.approx(one.measured)
        for other, second in known:
            values = [rules.ranking.value(c, useful_ms) for c in (first, second)]
            if (values[0], one.place) < (values[1], other.place):
                assert rules.surely_before(one, other)
                assert not rules.surely_before(other, one)
    assert rules.doubtful([each for each, _ in known], 2) == []


def test_only_those_whose_side_is_open_are_judged_on_more() -> None:
    noise = np.random.default_rng(0).standard_normal((4, 64))
    rules = contest()
    effects = ((0.0, 0.0005, 1.0), (0.0, 0.0005, 1.0), (0.004, 0.05, 2.0), (0.5, 0.05, 1.0))
    known = [
        bounds(rules, judged(place, losses, ms, PROMPTS), losses)
        for place, (loss, spread, ms) in enumerate(effects)
        for losses in [(loss + spread * (noise[place] - noise[place].mean())).tolist()]
    ]
    sure, _, wide, _ = known
    assert not sure.open, "it surely loses nothing that counts"
    assert wide.lowest == wide.floor < wide.measured < wide.highest
    # The third may come first or third; the last surely comes last.
    assert rules.doubtful(known, 1) == [wide]
    assert rules.doubtful(known, 2) == [wide]
    assert rules.doubtful(known, 3) == []


def test_paired_losses_tell_more_than_each_by_itself() -> None:
    common = 0.05 * np.random.default_rng(1).standard_normal(64)
    rules = contest(negligible=1e-9)
    one, other = (
        bounds(rules, judged(place, losses, 1.0, PROMPTS), losses)
        for place, loss in enumerate((0.01, 0.02))
        for losses in [(loss + common).tolist()]
    )
    assert one.highest > other.lowest
    assert rules.surely_before(one, other)
    assert not rules.surely_before(other, one)


def test_what_saves_nothing_is_known_at_once() -> None:
    losses = [0.0, 0.1, -0.1, 0.0]
    useless = bounds(contest(), judged(0, losses, 0.0, PROMPTS), losses)
    assert not useless.open
    assert mean(losses) == pytest.approx(0)


@pytest.mark.parametrize("level", [0.01, 0.05, 0.3])
def test_what_is_said_to_be_sure_is_wrong_no_oftener_than_the_level(level: float) -> None:
    """All prompts are a random order of fixed ones; looks are taken all along it."""
    wrong = 0
    trials = 300
    random = np.random.default_rng(7)
    rules = Contest(Ranking(0.0, 0.002), 100.0, PROMPTS, level, 2)
    for _ in range(trials):
        losses = 0.003 + 0.03 * random.standard_normal((2, PROMPTS))
        final = [max(each.mean(), 0.002) for each in losses]
        said = False
        for count in (16, 32, 64, 96, 144, 216, 324, 486):
            one, other = (
                bounds(rules, judged(p, each[:count].tolist(), 1.0, PROMPTS), each[:count].tolist())
                for p, each in enumerate(losses)
            )
            said |= rules.surely_before(one, other) and final[0] > final[1]
            said |= rules.surely_before(other, one) and final[1] >= final[0]
        wrong += said
    assert wrong <= level * trials + 2 * (level * trials) ** 0.5
