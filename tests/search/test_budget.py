"""When a search ends: at its target without a gain in sight, or with what it may use used up."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_runs import BASE_MS, FULL, LATENCY, LEAST_MS, TRUTH, search
from toy_search import PROMPTS

from search.budget import Budget, Spent
from search.strategies import STRATEGIES

SHORT_MS = LEAST_MS + 1


@given(st.integers(0, 10_000), st.integers(1, 10_000), st.integers(2, 300), st.integers(1, 64))
def test_a_round_gets_what_is_left_and_at_least_its_two_ends(
    pictures: int, most: int, wanted: int, prompts: int
) -> None:
    evaluations = Budget(max_pictures=most).evaluations(wanted, Spent(0, pictures), prompts)
    assert 2 <= evaluations <= wanted
    if evaluations > 2:
        assert pictures + evaluations * prompts <= most
    assert Budget().evaluations(wanted, Spent(0, pictures), prompts) == wanted


def test_rounds_share_what_is_left() -> None:
    """The first does not use up what the second needs to reach the target."""
    budget = Budget(max_pictures=960)
    assert budget.evaluations(200, Spent(0, 0), prompts=8, rounds=2) == 60
    assert budget.evaluations(200, Spent(1, 480), prompts=8, rounds=1) == 60
    assert budget.evaluations(40, Spent(0, 0), prompts=8, rounds=2) == 40


def test_a_search_reaches_its_target_within_pictures_that_suffice(tmp_path: Path) -> None:
    """Though a strategy uses all that a round is given."""
    singles = (1 + len(FULL.blocks)) * PROMPTS
    budget = Budget(max_pictures=2 * singles + 20 * PROMPTS)
    strategy = STRATEGIES["random"]
    run = search(tmp_path, target_ms=SHORT_MS, rounds=2, budget=budget, strategy=strategy)
    run.run()
    assert run.evolution.stopped == ""
    assert LATENCY(run.told[-1].after) <= SHORT_MS


def test_rounds_are_counted(tmp_path: Path) -> None:
    run = search(tmp_path, target_ms=SHORT_MS, rounds=6, budget=Budget(max_rounds=2))
    run.run()
    assert len(run.told) == 2
    assert run.evolution.stopped == (
        "search.max_rounds 2 is used up: the search ends, short of its target"
    )


@pytest.mark.parametrize("constant", [False, True])
def test_pictures_are_counted_whether_they_are_known_or_drawn(
    tmp_path: Path, constant: bool
) -> None:
    """So a search that goes on with the scores of another ends where it would have alone."""
    options = {"target_ms": SHORT_MS, "rounds": 6, "constant_weights": constant}
    (tmp_path / "whole").mkdir()
    whole = search(tmp_path / "whole", **options)
    whole.run()
    drawn = whole.evaluations.asked
    assert whole.load_state().pictures == drawn
    budget = Budget(max_pictures=drawn // 2)
    decided = []
    for name, store in (("fresh", None), ("known", whole.store)):
        (tmp_path / name).mkdir()
        more = {} if store is None else {"store": store}
        run = search(tmp_path / name, budget=budget, **options, **more)
        run.run()
        assert "search.max_pictures" in run.evolution.stopped
        decided.append(run.told)
    assert decided[0] == decided[1]
    assert 0 < len(decided[0]) < len(whole.told)


def test_a_budget_of_pictures_is_hardly_exceeded(tmp_path: Path) -> None:
    """Single removals are judged in any case; what comes on top is limited."""
    singles = (1 + len(FULL.blocks)) * PROMPTS
    for extra in (0, 3, 10):
        folder = tmp_path / str(extra)
        folder.mkdir()
        most = singles + extra * PROMPTS
        run = search(folder, target_ms=SHORT_MS, rounds=1, budget=Budget(max_pictures=most))
        run.run()
        assert run.evaluations.asked <= most + 3 * PROMPTS


def test_time_is_counted_through_all_processes(tmp_path: Path) -> None:
    """A clock on which every round takes at least half an hour."""
    ticks = itertools.count(step=1800)
    budget = Budget(max_hours=1)
    options = {"target_ms": SHORT_MS, "rounds": 6, "now": lambda: float(next(ticks))}
    first = search(tmp_path, budget=replace_rounds(budget, 1), **options)
    first.run()
    assert first.load_state().seconds == 1800
    again = search(tmp_path, budget=budget, **options)
    again.run()
    assert [decision.round for decision in again.told] == [2]
    assert "search.max_hours 1 is used up" in again.evolution.stopped


def replace_rounds(budget: Budget, rounds: int) -> Budget:
    return budget.model_copy(update={"max_rounds": rounds})


def test_additions_go_on_while_they_pay(tmp_path: Path) -> None:
    """Copies of half of the blocks gain something; after that, a round finds nothing."""
    gaining = dict(itertools.islice(TRUTH.copies.items(), len(FULL.blocks) // 2))
    run = search(tmp_path, replace(TRUTH, copies=gaining), target_ms=10 * BASE_MS, rounds=1)
    found = run.run()
    assert [bool(decision.executed) for decision in run.told] == [True, False]
    assert set() < set(found.added) <= set(gaining)


@pytest.mark.parametrize("patience", [1, 3])
def test_rounds_in_vain_are_as_many_as_the_patience(tmp_path: Path, patience: int) -> None:
    nothing_pays = replace(TRUTH, copies={})
    run = search(tmp_path, nothing_pays, target_ms=1.2 * BASE_MS, rounds=1, patience=patience)
    assert run.run() == FULL
    assert [decision.executed for decision in run.told] == [()] * patience
    assert LATENCY(FULL) == run.told[-1].latency_after_ms
