"""``evounet bench racing``: its replays of recorded rounds, and how these are recorded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from in_process import SMALL

from evaluators.job import Job, Scores
from experiments.benchmarks.racing import Replay, RoundScores, figures, replay
from experiments.benchmarks.recorded_scores import (
    RecordedRound,
    load_rounds,
    read_search,
    save_rounds,
)
from search.action import removals
from search.decision import Decision, score_action
from search.state import SearchState
from search.store import EvaluationStore
from supernet.inventory import take_inventory, unet_config

FULL = take_inventory(unet_config(SMALL)).full()
ACTIONS = list(removals(FULL))
PROMPTS = 256


def recorded(noise: float) -> RecordedRound:
    """Removals of which each costs more than the one before, with what prompts disagree about."""
    generator = torch.Generator().manual_seed(0)
    before = torch.rand(PROMPTS, generator=generator, dtype=torch.float64)
    effects = 0.01 * torch.arange(1, 1 + len(ACTIONS), dtype=torch.float64)
    disagreement = torch.randn((len(ACTIONS), PROMPTS), generator=generator, dtype=torch.float64)
    return RecordedRound(
        base_ms=float(len(ACTIONS)),
        actions=tuple(map(str, ACTIONS)),
        delta_latency_ms=-torch.ones(len(ACTIONS), dtype=torch.float64),
        before=before,
        after=before - effects[:, None] + noise * disagreement,
    )


@pytest.mark.parametrize("seed", range(4))
def test_without_noise_a_race_is_decided_at_once(seed: int) -> None:
    answer = replay(recorded(0.0), FULL, 1024, seed)
    assert answer.equal
    assert answer.regret == 0
    # All actions at the first rung, and all prompts before and after.
    everything = (len(ACTIONS) + 2) * 1024
    assert answer.share == pytest.approx((32 * len(ACTIONS) + 2 * 1024) / everything)


def test_the_noisier_the_more_pictures() -> None:
    shares = [
        sum(replay(recorded(noise), FULL, 1024, seed).share for seed in range(4))
        for noise in (0.0, 0.05, 0.5)
    ]
    assert shares == sorted(set(shares))


def test_no_race_needs_fewer_pictures_than_who_knows_the_answer() -> None:
    for seed in range(4):
        answer = replay(recorded(0.05), FULL, 1024, seed)
        assert answer.least_share < answer.share
    sure = replay(recorded(0.0), FULL, 1024, seed=0)
    assert sure.least_share == pytest.approx(2 / (len(ACTIONS) + 2))


def test_latency_is_that_of_the_actions() -> None:
    scores = RoundScores(recorded(0.0), FULL, torch.arange(8))
    two = FULL.without(list(FULL)[:2])
    assert scores.latency(FULL) - scores.latency(two) == 2
    assert scores.current == FULL


def test_figures_are_of_the_replays() -> None:
    same, other = Replay(True, 0.1, 0.05, 0.0, 0.0), Replay(False, 0.3, 0.1, 0.004, 0.01)
    values = {f.name: f.value for f in figures([same, same, same, other], "four")}
    assert values == {
        "equal_decisions_pct": 75,
        "images_pct": pytest.approx(15),
        "images_pct_least": pytest.approx(6.25),
        "regret_in_standard_errors": pytest.approx(0.4),
    }
    assert figures([same], "one")[3].value == 0


def test_a_search_is_recorded_and_read_again(tmp_path: Path) -> None:
    truth = recorded(0.05)
    run = tmp_path / "run"
    run.mkdir()
    store = EvaluationStore(run / "evaluations.db", "all prompts")

    def keep(architecture, scores):
        answer = Scores(tuple(scores.tolist()))
        store.add(Job(architecture, range(PROMPTS)), "w", answer, 1.0, 1)
        return answer

    now = keep(FULL, truth.before)
    candidates = [
        score_action(action, now, now, keep(action.apply(FULL), after), -1.0)
        for action, after in zip(ACTIONS, truth.after, strict=True)
    ]
    after = ACTIONS[0].apply(FULL)
    decision = Decision(
        1, "remove", "w", FULL, 0.5, truth.base_ms, tuple(candidates), (candidates[0],), after, 0, 0
    )
    SearchState(FULL, [decision]).save(run / "state.json")
    save_rounds(tmp_path / "scores.safetensors", read_search(run, FULL, "all prompts"))
    [again] = load_rounds(tmp_path / "scores.safetensors")
    assert (again.base_ms, again.actions) == (truth.base_ms, truth.actions)
    torch.testing.assert_close(again.after, truth.after, rtol=0, atol=1e-6)
    torch.testing.assert_close(again.before, truth.before, rtol=0, atol=1e-6)

    raced = replace(decision, candidates=(replace(candidates[0], prompts=32, spared=224),))
    SearchState(FULL, [raced]).save(run / "state.json")
    with pytest.raises(ValueError, match=r"raced; search with search\.racing=false"):
        read_search(run, FULL, "all prompts")
    SearchState(FULL).save(run / "state.json")
    with pytest.raises(ValueError, match="no decisions there"):
        read_search(run, FULL, "all prompts")
