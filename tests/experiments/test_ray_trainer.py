"""Workers of Ray share a training: the same losses as one process, and none lost with a worker."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from torch import Tensor

from evaluators.pipelines import load_pipeline
from evaluators.ray_session import ray_session
from experiments.data.settings import DataSettings
from experiments.models import pipeline_source
from experiments.ray_trainer import RayTrainer
from experiments.scaling import ScalingSettings
from experiments.trainer import LocalTrainer, SupernetTrainer, TrainingJob, local_trainer
from supernet.block_dropping import BlockDropping
from supernet.checkpoint import load_tensors
from supernet.inventory import take_inventory, unet_config
from supernet.training_settings import TrainingSettings

PIPELINE, DATA = pipeline_source("shapes"), DataSettings(pictures=64)
SETTINGS = TrainingSettings(
    steps=6,
    batch_size=4,
    learning_rate=1e-3,
    warmup_steps=2,
    ema_decay=0.5,
    precision="fp32",
    dropping=BlockDropping(per="batch"),
    checkpoint_every=2,
)


@pytest.fixture(scope="module")
def two_cpus() -> Iterator[None]:
    with ray_session(2):
        yield


@pytest.fixture(scope="module")
def local() -> LocalTrainer:
    return LocalTrainer(load_pipeline(PIPELINE), DATA, 0)


@pytest.fixture(scope="module")
def job(local: LocalTrainer) -> TrainingJob:
    unet = local.supernet.unet
    start = {name: value.clone() for name, value in unet.state_dict().items()}
    return TrainingJob(start, take_inventory(unet_config(unet)).full(), SETTINGS, seed=3)


def losses_of(
    trainer: SupernetTrainer, job: TrainingJob, state: Path, on_step: Any = lambda done: None
) -> tuple[dict[int, float], dict[str, Tensor]]:
    losses: dict[int, float] = {}

    def on_progress(done: int, figures: dict[str, float]) -> None:
        losses[done] = figures["loss"]
        on_step(done)

    return losses, trainer.train(job, state, None, on_progress)


def check_equal(
    start: Mapping[str, Tensor],
    one: tuple[dict[int, float], dict[str, Tensor]],
    other: tuple[dict[int, float], dict[str, Tensor]],
) -> None:
    """The same losses, and weights whose difference is nothing beside the way they went.

    Adam makes a whole step of the smallest gradient, so rounding may turn single weights.
    """
    assert one[0] == pytest.approx(other[0], rel=1e-3)
    assert list(one[0]) == list(range(1, SETTINGS.steps + 1))
    assert one[1].keys() == other[1].keys()
    assert distance(one[1], other[1]) < 0.05 * distance(one[1], start)


def distance(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    return sum((one[name] - other[name]).abs().sum().item() for name in one)


def workers(folder: Path, **changes: Any) -> RayTrainer:
    scaling = ScalingSettings(workers=2, storage_path=str(folder / "storage"), **changes)
    return RayTrainer(partial(local_trainer, PIPELINE, DATA, 0), scaling)


@pytest.mark.usefixtures("two_cpus")
def test_two_workers_have_the_losses_of_one_with_the_whole_batch(
    local: LocalTrainer, job: TrainingJob, tmp_path: Path
) -> None:
    alone = losses_of(local, job, tmp_path / "run" / "checkpoints" / "alone.safetensors")
    state = tmp_path / "run" / "checkpoints" / "shared.safetensors"
    shared = losses_of(workers(tmp_path), job, state)
    check_equal(job.weights, shared, alone)
    _, metadata = load_tensors(state)
    assert metadata["step"] == str(SETTINGS.steps)


@pytest.mark.slow
@pytest.mark.usefixtures("two_cpus")
def test_after_a_worker_s_death_all_go_on_from_the_last_checkpoint(
    local: LocalTrainer, job: TrainingJob, tmp_path: Path
) -> None:
    alone = losses_of(local, job, tmp_path / "run" / "checkpoints" / "alone.safetensors")
    told: list[int] = []

    def on_step(done: int) -> None:
        if done == 5 and 5 not in told:
            os.kill(training_processes()[0], signal.SIGKILL)
        told.append(done)

    state = tmp_path / "run" / "checkpoints" / "shared.safetensors"
    check_equal(job.weights, losses_of(workers(tmp_path), job, state, on_step), alone)
    assert told.count(1) == told.count(2) == 1
    # Step 6 may have been quicker than the signal; Ray looks for new checkpoints every 2 seconds.
    resumed = [done for done in told[told.index(5) + 1 :] if done != 6]
    assert resumed in ([5], [3, 4, 5])


def training_processes() -> list[int]:
    """Of the Ray that this process has started."""
    return [
        process.pid
        for process in psutil.Process().children(recursive=True)
        if "RayTrainWorker" in " ".join(process.cmdline())
    ]
