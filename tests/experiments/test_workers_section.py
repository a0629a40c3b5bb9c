"""The section ``workers`` of an experiment file: what evaluators take of a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluators.placement import Placement
from experiments.experiment import ExperimentError, load_experiment

FILE = """
name = "small"

[latency]
tables = ["toy"]
target_ratio = 0.5

[workers]
count = 8
min_count = 2
threads = 2
gpus = 0.25
resources = { a100 = 0.01 }
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(FILE)
    return path


def test_a_file_says_what_evaluators_take(file: Path) -> None:
    workers = load_experiment(file).workers
    assert workers.placement == Placement(threads=2, gpus=0.25, resources={"a100": 0.01})
    file.write_text(load_experiment(file).to_toml())
    assert load_experiment(file).workers == workers


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("workers.min_count=9", "min_count 9 is more than count 8"),
        ("workers.gpus=1.5", "gpus 1.5: give a share of one GPU, or a whole number"),
        ("workers.gpus=-1", "'workers.gpus' is -1"),
        ("workers.resources.GPU=1", "resources.GPU = 1: .* GPUs 'gpus'"),
        ("workers.resources.a100=0", "resources.a100 = 0: give a positive amount"),
    ],
)
def test_what_no_cluster_can_give_is_refused(file: Path, override: str, told: str) -> None:
    with pytest.raises(ExperimentError, match=told) as caught:
        load_experiment(file, [override])
    assert len(str(caught.value).splitlines()) == 1


def test_whole_gpus_and_no_lower_limit_are_fine(file: Path) -> None:
    workers = load_experiment(file, ["workers.gpus=2", "workers.min_count="]).workers
    assert (workers.gpus, workers.min_count, workers.count) == (2, None, 8)
