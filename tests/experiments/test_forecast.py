"""The forecast of a search: what it will ask for, and how long that takes."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from pathlib import Path

import pytest
import torch

from experiments.experiment import load_experiment
from experiments.forecast import BatchTime, Forecast, RoundWork, forecast, rehearse
from experiments.search_parts import Parts, prepare
from search.action import removals

TINY = (
    "evaluation.prompts.count=6",
    "evaluation.sampling.num_inference_steps=1",
    "evaluation.sampling.batch_size=4",
    "training.pictures=64",
    "training.round.steps=10",
    "training.round.batch_size=4",
    "training.final.steps=0",
    "comparison.prompts.count=9",
    "comparison.sampling.num_inference_steps=1",
    "comparison.sampling.batch_size=4",
    "workers.count=3",
)


@pytest.fixture(scope="module")
def parts() -> Parts:
    return prepare(load_experiment(Path("demo"), TINY))


def with_search(parts: Parts, **settings: object) -> Parts:
    section = parts.experiment.search.model_copy(update=settings)
    return replace(parts, experiment=parts.experiment.model_copy(update={"search": section}))


def rehearsed(parts: Parts) -> tuple[RoundWork, ...]:
    return rehearse(parts.experiment, parts.demands)


def test_a_search_that_scores_every_action_once_is_counted_exactly(parts: Parts) -> None:
    (only,) = rehearsed(with_search(parts, rounds=1, recheck=0, refine=0, grow=False))
    actions = len(list(removals(parts.full, ())))
    assert (only.phase, only.actions) == ("remove", actions)
    # The architecture before, every action, and the one after; each two batches of six prompts.
    assert only.pictures == 6 * (actions + 2)
    assert sum(only.waves) == 2 * (actions + 2)
    assert max(only.waves) >= 2 * actions  # all at once


def test_more_rounds_and_rechecks_ask_for_more(parts: Parts) -> None:
    once = rehearsed(with_search(parts, rounds=1, recheck=0))
    rechecked = rehearsed(with_search(parts, rounds=1, recheck=2))
    longer = rehearsed(with_search(parts, rounds=3, recheck=0))
    assert rechecked[0].actions == once[0].actions
    assert rechecked[0].pictures > once[0].pictures
    assert len(rechecked[0].waves) > len(once[0].waves)
    removing = [work for work in longer if work.phase == "remove"]
    assert len(removing) == 3
    assert removing[0].actions > removing[1].actions > removing[2].actions


def test_a_rehearsal_says_the_same_every_time(parts: Parts) -> None:
    assert rehearsed(parts) == rehearsed(parts)


def test_workers_share_batches_until_there_are_none_left_to_share() -> None:
    work = RoundWork("remove", 4, 5 * 8, waves=(5, 1))
    assert [work.batches(workers) for workers in (1, 2, 4, 5, 100)] == [6, 4, 3, 2, 2]
    ahead = Forecast((work,), 10.0, 8, 5.0, 100.0, None)
    assert ahead.evaluation_s(2) == 40.0
    assert ahead.comparison_s(2) == 20.0
    assert ahead.total_s(2) == 160.0


def test_time_grows_with_pictures_and_steps() -> None:
    time = BatchTime(pictures=4, fixed_s=2.0, step_s=0.5)
    assert time.of(4, 10) == 7.0
    assert time.of(8, 10) == 14.0
    assert time.of(4, 20) == 12.0


@pytest.mark.skipif(torch.cuda.is_available(), reason="about a machine without a GPU")
def test_gpus_that_are_not_here_are_not_timed(parts: Parts) -> None:
    workers = parts.experiment.workers.model_copy(update={"gpus": 0.5})
    experiment = parts.experiment.model_copy(update={"workers": workers})
    with pytest.raises(ValueError, match=r"workers\.gpus is 0\.5"):
        forecast(replace(parts, experiment=experiment))


def test_trainings_on_workers_of_ray_are_not_timed() -> None:
    ahead = Forecast((RoundWork("remove", 4, 5, (5,)),), 10.0, 8, 5.0, None, 3)
    assert ahead.total_s(1) == 90.0
    assert "not timed" in list(ahead.hours_table().columns[3].cells)
    assert "3 (as asked)" in list(ahead.hours_table().columns[0].cells)


def test_a_batch_and_a_training_step_are_timed_here(parts: Parts) -> None:
    ahead = forecast(parts)
    assert ahead.rounds == rehearsed(parts)
    assert ahead.batch_s > 0
    assert ahead.comparison_batches == 2 * ceil(9 / 4)
    # As many steps of a UNet as the evaluation, on as many pictures.
    assert ahead.comparison_batch_s == pytest.approx(ahead.batch_s)
    assert ahead.training_s is not None
    assert ahead.training_s > 0
    assert ahead.workers == 3
