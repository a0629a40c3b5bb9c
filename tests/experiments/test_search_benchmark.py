"""The benchmark of strategies: its truth is the table's, and its figures follow from it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from statistics import fmean

import pytest
from rich.console import Console

from experiments.benchmarks import search as benchmark
from experiments.benchmarks.enumerated_space import EnumeratedSpace, every_subset, load_space
from experiments.benchmarks.search import Truth, front_of, hypervolume, regret_pct
from search.strategies import STRATEGIES

_BLOCKS = 6


@pytest.fixture(scope="module")
def space() -> EnumeratedSpace:
    """The last blocks of the shipped space, with all others kept."""
    whole = load_space()
    return replace(whole, blocks=whole.blocks[-_BLOCKS:], scores=whole.scores[: 2**_BLOCKS])


@pytest.fixture(scope="module")
def truth(space: EnumeratedSpace) -> Truth:
    return Truth.drawn(space, 0)


def test_the_shipped_space_is_whole() -> None:
    space = load_space()
    assert space.scores.shape[0] == 2 ** len(space.blocks) >= 4096
    assert space.scores.isfinite().all()
    every = space.architectures()
    assert every[0] == space.full
    assert every[1] == space.full.without(space.blocks[-1:])
    assert every[-1] == space.full.without(space.blocks)
    assert len(set(every)) == len(every)


def test_every_subset_comes_once(space: EnumeratedSpace) -> None:
    some = every_subset(space.full, space.blocks[:3])
    assert len({each.removed for each in some}) == 8


def test_regret_is_nothing_for_the_best_and_never_negative(truth: Truth) -> None:
    goal_ms = truth.ms.median().item()
    best = truth.best(goal_ms)
    fast = [
        clip
        for clip, ms in zip(truth.clip.tolist(), truth.ms.tolist(), strict=True)
        if ms <= goal_ms
    ]
    assert best == max(fast)
    for name in (*STRATEGIES, "paper"):
        assert regret_pct(truth, name, goal_ms, 40, seed=1) >= -1e-9
    # More evaluations than there are architectures: nothing is left to miss.
    assert regret_pct(truth, "evolution", goal_ms, 200, seed=1) == pytest.approx(0, abs=1e-9)


def test_a_hypervolume_is_the_area_under_the_front(truth: Truth) -> None:
    """By slices of latency, each as high as the best score that is as fast."""
    every = {each: fmean(scores) for each, scores in truth.scores.items()}
    floor = every[min(every, key=truth.space.latency)]
    edges = sorted({truth.space.latency(each) for each in every})
    area = sum(
        (right - left) * (truth.best(left + 1e-9) - floor) for left, right in pairwise(edges)
    )
    assert hypervolume(truth, every) == pytest.approx(area)
    for name in (*STRATEGIES, "paper"):
        found = front_of(truth, name, [truth.ms.median().item()], 30, seed=0)
        assert all(every[each] == pytest.approx(clip) for each, clip in found.items())
        assert 0 < hypervolume(truth, found) <= hypervolume(truth, every) * (1 + 1e-9)


def test_figures_are_those_that_were_promised(
    space: EnumeratedSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "load_space", lambda: space)
    figures = {f.name: f for f in benchmark.run(quick=True, console=Console(quiet=True))}
    for name in ("", "nsga2_", "tpe_", "random_", "one_shot_", "knapsack_", "paper_"):
        for budget in (50, 100):
            assert figures[f"{name}regret_pct_at_{budget}"].value >= -1e-9
            assert 0 < figures[f"{name}hypervolume_ratio_at_{budget}"].value <= 1 + 1e-9
    promised = {name: str(f.goal) for name, f in figures.items() if f.goal is not None}
    assert promised["regret_pct_at_100"] == "<= 0.5"
    assert promised["worst_regret_pct_at_100"] == "<= 0.5"
    assert promised["hypervolume_ratio_at_100"] == ">= 0.98"
    assert promised["ahead_of_random_pct_at_50"] == ">= 0"
    assert promised["controller_ms_per_decision"] == "<= 50"
    assert figures["controller_ms_per_decision"].value > 0
