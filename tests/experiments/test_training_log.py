"""The curves of trainings: thinned, without doubled steps, and readable at any moment."""

from __future__ import annotations

import json
import math
from itertools import count, pairwise
from pathlib import Path

import pytest

from experiments.run_folder import RunFolderError
from experiments.training_log import TrainingLog, load_training
from search.evaluations import unseen
from supernet.training_settings import OptimizationSettings


def settings_of(steps: int) -> OptimizationSettings:
    return OptimizationSettings(steps=steps, batch_size=8, warmup_steps=10, learning_rate=2e-3)


def loss(step: int) -> dict[str, float]:
    return {"loss": 1 / step}


@pytest.fixture
def log(tmp_path: Path) -> TrainingLog:
    """A quarter of a second passes whenever it looks at the clock."""
    ticks = count()
    return TrainingLog(tmp_path / "training.jsonl", now=lambda: next(ticks) / 4)


def train(log: TrainingLog, name: str, settings: OptimizationSettings, first: int, last: int):
    follow = log.following(name, settings, unseen)
    for step in range(first, last + 1):
        follow(step, loss(step))


def contents(log: TrainingLog) -> list[tuple[str, int, float, float]]:
    """All but the times."""
    points = load_training(log.path)
    return [(each.training, each.step, each.loss, each.learning_rate) for each in points]


def test_a_point_has_what_a_step_had(log: TrainingLog) -> None:
    told: list[int] = []
    settings = settings_of(20)
    follow = log.following("round-1", settings, lambda done, figures: told.append(done))
    for step in range(1, 21):
        follow(step, loss(step))
    assert told == list(range(1, 21))
    points = load_training(log.path)
    assert [point.step for point in points] == list(range(1, 21))
    third, last = points[2], points[-1]
    assert (third.training, third.steps, third.loss) == ("round-1", 20, 1 / 3)
    warm = 3 / 10
    assert third.learning_rate == pytest.approx(
        2e-3 * warm * (1 + math.cos(math.pi * 2 / 20)) / 2, rel=1e-12
    )
    assert last.learning_rate == pytest.approx(1e-3 * (1 + math.cos(math.pi * 19 / 20)), rel=1e-12)
    assert points[0].pictures_per_s is None
    assert {point.pictures_per_s for point in points[1:]} == {8 * 4.0}


def test_a_long_training_is_thinned(log: TrainingLog) -> None:
    train(log, "final", settings_of(10_000), 1, 10_000)
    points = load_training(log.path)
    assert 290 <= len(points) <= 310
    assert (points[0].step, points[-1].step) == (1, 10_000)
    apart = {b.step - a.step for a, b in pairwise(points[1:-1])}
    assert len(apart) == 1


@pytest.mark.parametrize(("killed", "checkpoint"), [(750, 700), (750, 0), (690, 601), (1000, 999)])
def test_an_interrupted_training_leaves_the_same_points(
    log: TrainingLog, tmp_path: Path, killed: int, checkpoint: int
) -> None:
    settings = settings_of(1000)
    for each, last in ((log, 1000), (TrainingLog(tmp_path / "killed.jsonl"), killed)):
        train(each, "round-1", settings, 1, 1000)
        train(each, "round-2", settings, 1, last)
    train(each, "round-2", settings, checkpoint + 1, 1000)
    assert contents(each) == contents(log)


def test_a_step_back_of_workers_doubles_nothing(log: TrainingLog) -> None:
    """Workers of Ray Train that died go on from their last checkpoint, in the same training."""
    follow = log.following("final", settings_of(100), unseen)
    for step in (*range(1, 60), *range(51, 101)):
        follow(step, loss(step))
    assert [point.step for point in load_training(log.path)] == list(range(1, 101))


def test_half_a_line_is_no_error_and_costs_no_other(log: TrainingLog) -> None:
    train(log, "round-1", settings_of(4), 1, 2)
    whole = load_training(log.path)
    log.path.write_text(log.path.read_text() + '{"training": "round-1", "st')
    assert load_training(log.path) == whole
    train(log, "round-2", settings_of(2), 1, 2)
    assert [point.training for point in load_training(log.path)] == ["round-1"] * 2 + [
        "round-2"
    ] * 2


def test_no_training_has_no_points(tmp_path: Path) -> None:
    assert load_training(tmp_path / "training.jsonl") == ()


def test_a_file_of_something_else_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "training.jsonl"
    path.write_text(json.dumps({"epoch": 3}) + "\n")
    with pytest.raises(RunFolderError, match=r"training.jsonl: damaged .*; delete it"):
        load_training(path)
