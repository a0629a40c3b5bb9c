"""Strategies on a toy of which every architecture's score is known."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_runs import BASE_MS, FULL, LATENCY, LEAST_MS, TRUTH, search
from toy_search import MemoryStore, ToySearch, Truth, by_size, toy_latency

from evaluators.job import Scores
from latency_tables import BlockSignature
from search.action import Action
from search.evaluations import OnProgress, unseen
from search.round import Answer, Round, Strategy
from search.settings import EvolutionSettings, RacingSettings
from search.strategies import STRATEGIES
from search.strategies.knapsack import Knapsack, best_sets
from search.strategies.refinement import refine
from search.strategies.surrogate import Surrogate, as_rows
from supernet.architecture import Architecture

BLOCKS = list(FULL)
PAIRS = {
    frozenset({BLOCKS[i], BLOCKS[j]}): 0.02 for i, j in ((0, 2), (1, 5), (3, 4), (7, 9), (8, 11))
}
TOGETHER = Truth(TRUTH.importance, together=PAIRS, noise=0.0)
ADDITIVE = Truth(TRUTH.importance, noise=0.0)
GOALS = [LEAST_MS + share * (BASE_MS - LEAST_MS) for share in (0.3, 0.5, 0.7)]


class Known:
    """Scores by the truth; counts what is asked for."""

    prompts = 4

    def __init__(self, truth: Truth) -> None:
        self.truth = truth
        self.seen: dict[Architecture, int] = {}

    @property
    def asked(self) -> int:
        return sum(self.seen.values())

    def first(
        self, count: int, architectures: Sequence[Architecture], on_progress: OnProgress = unseen
    ) -> dict[str, Scores]:
        for each in architectures:
            self.seen[each] = max(count, self.seen.get(each, 0))
        return {each.id: Scores(self.truth.scores(each)[:count]) for each in architectures}


def asked(truth: Truth, goal_ms: float, evaluations: int = 60, seed: int = 0) -> Round:
    chosen = EvolutionSettings(
        target_ms=goal_ms,
        evaluations=evaluations,
        refine=evaluations,
        race=RacingSettings(racing=False),
    )
    return Round(FULL, goal_ms, LATENCY, Known(truth), chosen, 4, seed)


def score(truth: Truth, architecture: Architecture) -> float:
    return float(np.mean(truth.scores(architecture)))


def optimum(truth: Truth, goal_ms: float) -> float:
    return max(
        score(truth, each)
        for bits in itertools.product((0, 1), repeat=len(BLOCKS))
        if LATENCY(each := FULL.with_multiplicities(dict(zip(BLOCKS, bits, strict=True))))
        <= goal_ms
    )


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("goal_ms", GOALS)
def test_answers_reach_the_goal_within_the_budget_and_are_repeated(
    name: str, goal_ms: float
) -> None:
    answers = []
    for _ in range(2):
        question = asked(TOGETHER, goal_ms)
        answers.append(STRATEGIES[name].choose(question))
        assert LATENCY(answers[-1].after) <= goal_ms
        assert question.evaluations.asked <= 60 * 4
    assert answers[0] == answers[1]


def test_what_a_group_takes_along_that_saves_no_time_does_not_stop_refinement(
    tmp_path: Path,
) -> None:
    def cost(signature: BlockSignature) -> float:
        # Shortcuts as slow as the ResNets whose place they take.
        shortcut = signature.kind == "shortcut"
        return by_size(replace(signature, kind="resnet") if shortcut else signature)

    latency = toy_latency(cost)
    useless = [block for block in FULL if latency.saved_by_removing(block) <= 0]
    assert useless
    settings = EvolutionSettings(
        target_ms=latency(latency.fastest()) + 1, rounds=1, grow=False, groups=("layer",)
    )
    toy = ToySearch(tmp_path, settings, ADDITIVE, latency=latency)
    found = toy.run()
    assert any(set(useless) & set(group.blocks) for group in toy.evolution.groups)
    assert latency(found) <= settings.target_ms


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_budget_for_next_to_nothing_is_answered_too(name: str) -> None:
    answer = STRATEGIES[name].choose(asked(TOGETHER, GOALS[0], evaluations=2))
    assert LATENCY(answer.after) <= GOALS[0]


@pytest.mark.parametrize("goal_ms", GOALS)
def test_evolution_finds_what_enumeration_finds(goal_ms: float) -> None:
    answer = STRATEGIES["evolution"].choose(asked(TOGETHER, goal_ms))
    assert score(TOGETHER, answer.after) > 0.995 * optimum(TOGETHER, goal_ms)


@pytest.mark.parametrize("goal_ms", GOALS)
def test_the_knapsack_is_exact_where_effects_add_up(goal_ms: float) -> None:
    answer = Knapsack().choose(asked(ADDITIVE, goal_ms))
    assert score(ADDITIVE, answer.after) == pytest.approx(optimum(ADDITIVE, goal_ms), abs=1e-9)


@given(
    st.lists(st.tuples(st.integers(-5, 20), st.integers(1, 9)), min_size=1, max_size=8),
    st.floats(0.05, 1),
    st.integers(1, 4),
)
@settings(deadline=None, max_examples=100)
def test_best_sets_are_those_of_all_sets(
    items: list[tuple[int, int]], share: float, count: int
) -> None:
    losses, savings = (list(map(float, each)) for each in zip(*items, strict=True))
    needed = share * sum(savings)
    found = best_sets(losses, savings, needed, count)
    every = sorted(
        sum(losses[i] for i in some)
        for size in range(len(items) + 1)
        for some in itertools.combinations(range(len(items)), size)
        if sum(savings[i] for i in some)
        >= 1.01 * needed  # sets that save just enough may be missed
    )
    assert all(sum(savings[i] for i in some) >= needed - 1e-9 for some in found)
    for some, best in zip(found, every, strict=False):
        assert sum(losses[i] for i in some) <= best + 1e-9


def test_a_surrogate_learns_single_effects_and_pairs() -> None:
    random = np.random.default_rng(0)
    singles, pairs = random.normal(size=6), np.triu(random.normal(size=(6, 6)), 1)

    def truth(rows: np.ndarray) -> np.ndarray:
        return rows @ singles + np.einsum("ni,ij,nj->n", rows, pairs, rows)

    sets = [some for size in range(3) for some in itertools.combinations(range(6), size)]
    rows = as_rows(sets, 6)
    others = as_rows([(0, 1, 2), (1, 2, 3, 4), (0, 1, 2, 3, 4, 5)], 6)
    expected, doubt = Surrogate(rows, truth(rows)).predict(others)
    np.testing.assert_allclose(expected, truth(others), atol=0.05)
    assert (doubt < 0.2).all()
    few, unsure = Surrogate(rows[:7], truth(rows[:7])).predict(others)
    assert (unsure > doubt).all()
    assert abs(few - truth(others)).max() > abs(expected - truth(others)).max()


def test_refining_never_makes_worse_and_measures_no_more_than_asked_for() -> None:
    question = asked(TOGETHER, GOALS[1])
    start = STRATEGIES["one_shot"].choose(question).after
    before = question.spent
    better = refine(question, start, 10)
    assert question.spent - before <= 11
    assert score(TOGETHER, better) >= score(TOGETHER, start)


class Interrupted(Exception):
    """A kill."""


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_killed_search_ends_as_an_undisturbed_one(tmp_path: Path, name: str) -> None:
    def run(folder: str, killed_at: Sequence[int]) -> tuple[Architecture, list[object]]:
        (tmp_path / folder).mkdir()
        found = search(
            tmp_path / folder,
            TOGETHER,
            strategy=STRATEGIES[name],
            rounds=2,
            refine=6,
            evaluations=24,
        )
        found.store = MemoryStore()
        ticks = 0

        def clock() -> None:
            nonlocal ticks
            ticks += 1
            if ticks in killed_at:
                raise Interrupted

        found.clock = found.store.clock = clock
        while True:
            try:
                return found.run(), [d.to_json() for d in found.load_state().decisions]
            except Interrupted:
                continue

    assert run("killed", (5, 17, 31, 64)) == run("undisturbed", ())


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_decision_says_what_each_removal_costs(tmp_path: Path, name: str) -> None:
    found = search(tmp_path, TOGETHER, strategy=STRATEGIES[name], rounds=1, evaluations=30)
    found.run()
    decision = found.told[0]
    gone = [block for block in FULL if decision.after[block] < decision.before[block]]
    assert {action.target for action in decision.taken} == set(gone)
    lines = decision.explain()
    assert sum(line.startswith("removed ") for line in lines) == len(gone)
    assert decision.latency_after_ms <= found.settings.target_ms


def test_a_better_set_takes_the_place_of_the_greedy_one(tmp_path: Path) -> None:
    """Two blocks that are cheap alone, dear together, and one that is dearer than either."""
    plain, refined = (
        search(tmp_path / str(n), TOGETHER, rounds=1, grow=False, recheck=0, refine=n)
        for n in (0, 30)
    )
    for each in (plain, refined):
        each.folder.mkdir()
        each.run()
    first, second = plain.told[0], refined.told[0]
    assert second.clip_after > first.clip_after
    [remark] = second.remarks
    assert remark.startswith("refined: the best of ")
    assert remark.endswith(f"{second.clip_after - first.clip_after:+.4f} CLIP")
    assert second.explain()[-1] == remark


def test_strategies_satisfy_the_protocol() -> None:
    chosen: list[Strategy] = list(STRATEGIES.values())
    assert all(isinstance(each.choose(asked(ADDITIVE, GOALS[2])), Answer) for each in chosen)
    assert Action(-1, BLOCKS[0]).apply(FULL) == FULL.without([BLOCKS[0]])
