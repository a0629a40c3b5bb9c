"""Trainings as data-parallel workers of a Ray cluster, by Ray Train.

All workers do the same training, which shares every batch among them
(:class:`supernet.optimization.Optimization`); checkpoints are that training's own files, reported
to Ray, which keeps the last one in the storage and hands it out again when a worker has died.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty
from typing import Any, Generic

import ray
import ray.train
import torch
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer, get_device
from ray.util.queue import Queue
from torch import Tensor

from evaluators.evaluator import weights_digest
from experiments.progress import OnProgress
from experiments.scaling import ScalingSettings
from experiments.trainer import AnyJob, Job, OpenTrainer
from supernet.checkpoint import load_tensors, save_tensors

_STATE = "training.safetensors"  # of a training, in a checkpoint of Ray


@dataclass(frozen=True)
class _Task(Generic[Job]):
    """What every worker is told.

    Attributes:
        open_local: makes the worker's own trainer on its device.
        job: the training, without its weights.
        weights: reference to these.
        earlier: reference to tensors and metadata of an earlier training's state, or None.
        progress: where the first worker tells of its steps.
    """

    open_local: OpenTrainer[Job]
    job: Job
    weights: Any
    earlier: Any
    progress: Queue


class RayTrainer(Generic[Job]):
    """Trains on the workers of the Ray that is connected.

    Args:
        open_local: makes a worker's own trainer on its device. It is sent to every node, where
            what it loads has to be there.
        scaling: how many workers, on what, and where their checkpoints go.
    """

    def __init__(self, open_local: OpenTrainer[Job], scaling: ScalingSettings) -> None:
        self.open_local = open_local
        self.scaling = scaling

    def train(
        self,
        job: Job,
        checkpoint: Path,
        continue_from: Path | None,
        on_progress: OnProgress,
    ) -> dict[str, Tensor]:
        """See :meth:`experiments.trainer.Trainer.train`.

        Raises:
            RuntimeError: if workers died more often than ``max_failures``.
        """
        if not job.settings.steps:  # there may still be copies to be made
            local = self.open_local(torch.device("cpu"))
            return local.train(job, checkpoint, continue_from, on_progress)
        progress = Queue(actor_options={"num_cpus": 0})
        task = _Task(
            self.open_local,
            replace(job, weights={}),
            ray.put(dict(job.weights)),
            None if continue_from is None else ray.put(load_tensors(continue_from)),
            progress,
        )
        workers = TorchTrainer(
            _train_worker,
            train_loop_config={"task": task},
            scaling_config=self._scaling_config(),
            run_config=self._run_config(job, checkpoint),
        )
        with ThreadPoolExecutor(max_workers=1) as executor:
            fitting = executor.submit(workers.fit)
            while not fitting.done():
                _tell(progress, on_progress)
            result = fitting.result()
        while _tell(progress, on_progress):
            pass
        progress.shutdown()
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        with result.checkpoint.as_directory() as folder:
            shutil.copyfile(Path(folder) / _STATE, checkpoint)
        shutil.rmtree(_beside(checkpoint), ignore_errors=True)
        return weights_of(checkpoint)

    def _scaling_config(self) -> ScalingConfig:
        return ScalingConfig(
            num_workers=self.scaling.workers,
            use_gpu=self.scaling.use_gpu,
            resources_per_worker={"CPU": 1, **({"GPU": 1} if self.scaling.use_gpu else {})},
        )

    def _run_config(self, job: Job, checkpoint: Path) -> RunConfig:
        return RunConfig(
            # The same name again goes on from the last checkpoint that was stored under it, so
            # it has to mean this training and no other.
            name=f"{checkpoint.stem}-{_digest(job)}",
            storage_path=self.scaling.storage_path or str(_beside(checkpoint)),
            failure_config=FailureConfig(max_failures=self.scaling.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
        )


def _beside(checkpoint: Path) -> Path:
    """Where Ray keeps the checkpoints of a training if it was told no place."""
    return checkpoint.absolute().with_suffix(".ray")


def _digest(job: AnyJob) -> str:
    text = f"{job.identity} {weights_digest(job.weights)}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def weights_of(state: Path) -> dict[str, Tensor]:
    """The weights that a finished training ended with: the average, or else the last ones."""
    tensors, _ = load_tensors(state)
    averages = {n.removeprefix("ema/"): t for n, t in tensors.items() if n.startswith("ema/")}
    return averages or {
        n.removeprefix("weight/"): t for n, t in tensors.items() if n.startswith("weight/")
    }


def _tell(progress: Queue, on_progress: OnProgress) -> bool:
    """Pass on one step, for which it waits a moment; whether there was one."""
    try:
        done, figures = progress.get(timeout=0.5)
    except Empty:
        return False
    on_progress(done, figures)
    return True


def _train_worker(config: Mapping[str, Any]) -> None:
    """What every worker of Ray Train runs."""
    task: _Task[Any] = config["task"]
    trainer = task.open_local(get_device())
    first = ray.train.get_context().get_world_rank() == 0
    job = replace(task.job, weights=ray.get(task.weights))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "checkpoint"
        folder.mkdir()
        _fetch_last(folder / _STATE)

        def report(done: int, figures: dict[str, float]) -> None:
            settings = job.settings
            if first:
                task.progress.put((done, figures))
            if done % settings.checkpoint_every == 0 or done == settings.steps:
                stored = Checkpoint.from_directory(folder) if first else None
                ray.train.report({"step": done, **figures}, checkpoint=stored)

        earlier = _fetch_earlier(task, Path(name) / "earlier.safetensors")
        trainer.train(job, folder / _STATE, earlier, report)


def _fetch_last(state: Path) -> None:
    """Put the state that the last checkpoint holds where the training looks for it."""
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as stored:
            shutil.copyfile(Path(stored) / _STATE, state)


def _fetch_earlier(task: _Task[Any], path: Path) -> Path | None:
    """The state of an earlier training as a file."""
    if task.earlier is None:
        return None
    tensors, metadata = ray.get(task.earlier)
    save_tensors(path, tensors, metadata)
    return path
