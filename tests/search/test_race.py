"""Races: the decisions of full evaluation, by fewer pictures."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy_search import MemoryStore, ToySearch, Truth, toy_inventory, toy_latency

from evaluators.job import Scores
from search.action import Action
from search.decision import score_action
from search.ranking import Ranking
from search.settings import EvolutionSettings, RacingSettings
from supernet.architecture import Architecture

INVENTORY = toy_inventory()
FULL = INVENTORY.full()
BASE_MS = toy_latency()(FULL)
PROMPTS = 1024
SEARCHES = 20


@cache
def disagreement(search: int, place: int) -> torch.Tensor:
    """Of the prompts about one block, ``(PROMPTS,)``."""
    generator = torch.Generator().manual_seed(100 * search + place)
    return torch.randn(PROMPTS, generator=generator, dtype=torch.float64)


class NoisyTruth(Truth):
    """Prompts disagree at random about every block that is removed."""

    def scores(
        self, architecture: Architecture, prompts: range = range(PROMPTS)
    ) -> tuple[float, ...]:
        scores = torch.full((PROMPTS,), 0.8, dtype=torch.float64)
        for place, block in enumerate(FULL):
            if architecture[block] == 0:
                noise = self.noise * disagreement(len(self.copies), place)
                scores -= self.importance[block] * (1 + noise)
        return tuple(scores[prompts.start : prompts.stop].tolist())


def random_truth(seed: int) -> NoisyTruth:
    generator = torch.Generator().manual_seed(seed)
    importance = torch.rand(len(FULL.blocks), generator=generator, dtype=torch.float64) * 0.02
    blocks = dict(zip(FULL, importance.tolist(), strict=True))
    copies = dict(list(blocks.items())[: seed % 12])  # tells the noise of one search from another
    return NoisyTruth(blocks, copies, noise=0.7)


def search(folder: Path, seed: int, *, racing: bool, **changes: float) -> ToySearch:
    latency = toy_latency()
    settings = EvolutionSettings.model_validate(
        {
            "target_ms": 0.75 * latency(FULL),
            "rounds": 1,
            "grow": False,
            "refine": 0,
            "race": RacingSettings(racing=racing),
        }
        | changes
    )
    return ToySearch(folder, settings, random_truth(seed), latency, prompts=PROMPTS)


def drawn(found: ToySearch) -> int:
    """Pictures."""
    assert isinstance(found.store, MemoryStore)
    return sum(len(scores.first) for scores in found.store.scores.values())


def taken(found: ToySearch) -> set[Action]:
    [decision] = found.told
    return set(decision.taken)


def loss(found: ToySearch) -> float:
    """CLIP score that its decision costs, over all prompts."""
    [decision] = found.told
    return decision.clip_before - decision.clip_after


def standard_error(found: ToySearch) -> float:
    """Of what the executed actions cost together, as if each by itself."""
    [decision] = found.told
    return math.hypot(*(c.standard_error for c in decision.executed))


@pytest.mark.parametrize("recheck", [0, 2])
def test_decisions_are_those_of_full_evaluation_by_fewer_pictures(
    tmp_path: Path, recheck: int
) -> None:
    equal, pictures, of = 0, 0, 0
    for seed in range(SEARCHES):
        full, raced = (
            search(tmp_path / f"{seed}-{racing}", seed, racing=racing, recheck=recheck)
            for racing in (False, True)
        )
        for each in (full, raced):
            each.folder.mkdir()
            each.run()
        equal += taken(full) == taken(raced)
        assert loss(raced) < loss(full) + standard_error(full)
        pictures, of = pictures + drawn(raced), of + drawn(full)
    assert equal >= 0.95 * SEARCHES
    assert pictures < 0.5 * of


def test_a_candidate_says_how_many_prompts_it_had(tmp_path: Path) -> None:
    found = search(tmp_path, 0, racing=True)
    found.run()
    [decision] = found.told
    counts = {c.prompts for c in decision.candidates}
    assert min(counts) == 32
    assert len(counts) > 1
    for c in decision.candidates:
        assert c.prompts + c.spared == PROMPTS
        assert c.margin > (1.96 * c.standard_error if c.spared else 0)


def test_a_race_tells_how_far_it_is(tmp_path: Path) -> None:
    rungs: list[dict[str, float]] = []

    def hear(done: int, figures: dict[str, float]) -> None:
        if "open" in figures:
            rungs.append(figures)

    found = search(tmp_path, 0, racing=True, recheck=0)
    found.track = lambda description, total: nullcontext(hear)
    found.run()
    [decision] = found.told
    actions = len(decision.candidates)
    assert rungs[0] == {"open": actions, "decided": 0, "prompts": 32}
    assert all(rung["open"] + rung["decided"] == actions for rung in rungs)
    told = {rung["prompts"] for rung in rungs}
    assert {c.prompts for c in decision.candidates} <= told


def test_no_race_judges_all_on_all_prompts(tmp_path: Path) -> None:
    found = search(tmp_path, 0, racing=False)
    found.run()
    [decision] = found.told
    assert all((c.prompts, c.spared) == (PROMPTS, 0) for c in decision.candidates)


class Interrupted(Exception):
    """A kill."""


@pytest.mark.parametrize("after", [20, 30, 45])
def test_a_race_goes_on_after_a_kill_and_draws_nothing_twice(tmp_path: Path, after: int) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    undisturbed.mkdir()
    killed.mkdir()
    expected = search(undisturbed, 3, racing=True)
    expected.run()
    ticks = 0

    def clock() -> None:
        nonlocal ticks
        ticks += 1
        if ticks == after:
            raise Interrupted

    found = search(killed, 3, racing=True)
    found.clock = clock
    with pytest.raises(Interrupted):
        found.run()
    found.run()
    assert found.told == expected.told
    assert drawn(found) == drawn(expected)
    # What was being drawn at the kill is all that is asked for again.
    assert len(found.evaluated) - len(expected.evaluated) <= 1


@given(st.integers(2, 5000), st.integers(1, 100), st.integers(8, 100))
def test_rungs_are_whole_batches_up_to_all_prompts(prompts: int, batch: int, first: int) -> None:
    rungs = RacingSettings(first_prompts=first).rungs(prompts, batch)
    assert rungs[-1] == prompts
    assert list(rungs) == sorted(set(rungs))
    assert all(rung % batch == 0 for rung in rungs[:-1])
    assert rungs[0] >= min(first, prompts)


def test_the_score_after_an_action_is_told_as_if_of_all_prompts() -> None:
    """The first prompts may be easier than all; how much is known for what there is now."""
    now = Scores((0.9, 0.9, 0.5, 0.5))
    action = Action(-1, next(iter(FULL)))
    candidate = score_action(action, now, now[:2], Scores((0.85, 0.87)), -1.0)
    assert candidate.clip == pytest.approx(0.7 - 0.04)
    assert (candidate.delta_clip, candidate.prompts, candidate.spared) == (
        pytest.approx(-0.04),
        2,
        2,
    )


def test_caution_takes_off_what_all_prompts_would_leave_unknown() -> None:
    """Few prompts are no disadvantage to what dropped out early."""
    whole = score_action(
        Action(-1, next(iter(FULL))), Scores((0.5,) * 8), Scores((0.5,) * 8), alternating(8), -1.0
    )
    part = replace(whole, prompts=2, spared=6, standard_error=2 * whole.standard_error)
    careful = Ranking(caution=3.0)
    assert careful.value(part) == pytest.approx(careful.value(whole))


def alternating(count: int) -> Scores:
    return Scores(tuple(0.4 + 0.1 * (i % 2) for i in range(count)))


@pytest.mark.parametrize("sign", [1, -1])
def test_a_second_judge_is_heard_but_not_followed(sign: int) -> None:
    before = Scores((0.5, 0.5, 0.5), (1.0, 0.0, 1.0))
    after = Scores((0.4, 0.5, 0.4), (1.0, sign / 2, 1.0))
    candidate = score_action(Action(-1, next(iter(FULL))), before, before, after, -2.0)
    assert candidate.second is not None
    assert candidate.second.delta == pytest.approx(sign / 6)
    assert candidate.second.standard_error == pytest.approx(1 / 6)
    assert candidate.value == pytest.approx(0.2 / 3 / 2)
    assert f"second judge {sign / 6:+.4f} (s.e. 0.1667)" in candidate.effect()


def test_what_cannot_be_told_from_zero_is_said_to_be_so(tmp_path: Path) -> None:
    found = search(tmp_path, 1, racing=True)
    found.run()
    [decision] = found.told
    doubtful = [c for c in decision.executed if not c.distinguishable]
    lines = [line for line in decision.explain() if "not distinguishable from zero" in line]
    assert len(lines) == len(doubtful)
    assert all(abs(c.delta_clip) <= c.margin < math.inf for c in doubtful)


def test_a_new_target_asks_again_and_draws_only_what_it_decides_for(tmp_path: Path) -> None:
    """Scores outlive their question: the same weights and prompts, another latency to reach."""
    store = MemoryStore()
    answers = []
    for name, share in (("first", 0.75), ("again", 0.75), ("other", 0.85)):
        found = search(tmp_path / name, 0, racing=False, recheck=0, target_ms=share * BASE_MS)
        found.folder.mkdir()
        found.constant_weights, found.store = True, store
        found.run()
        answers.append(found)
    first, again, other = answers
    assert first.evaluations.drawn == first.evaluations.asked
    assert again.evaluations.drawn == 0
    assert again.told == first.told
    assert taken(other) != taken(first)
    assert other.evaluations.drawn == PROMPTS < other.evaluations.asked
