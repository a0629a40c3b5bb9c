"""Training of an experiment: data, the trainer between decisions, a supernet from a base UNet."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from evaluators.pipelines import Pipeline
from experiments.data.settings import DataSettings
from experiments.progress import OnProgress
from experiments.scaling import ScalingSettings
from experiments.sections import SupernetTraining, TrainingSection
from experiments.trainer import SupernetTrainer, TrainingJob, local_trainer, training_data
from experiments.training_log import TrainingLog
from search.evaluations import unseen
from search.evolution import Track
from supernet.architecture import Architecture
from supernet.checkpoint import CheckpointError, load_tensors, save_tensors
from supernet.distributed import Workers
from supernet.growth import Growth
from supernet.inventory import take_inventory, unet_config
from supernet.optimization import parts_of_batch


def open_trainer(
    pipeline: str, data: DataSettings, data_seed: int, scaling: ScalingSettings
) -> SupernetTrainer:
    """Who trains the UNet of a pipeline: this process, or workers of the Ray that is connected.

    Args:
        pipeline: folder or Hugging Face id.
        data: what on.
        data_seed: which pictures, of the shapes world.
        scaling: on how many workers.
    """
    if scaling.on_ray:
        from experiments.ray_trainer import RayTrainer  # takes seconds

        return RayTrainer(partial(local_trainer, pipeline, data, data_seed), scaling)
    return local_trainer(pipeline, data, data_seed, torch.device("cpu"))


def check_training(pipeline: Pipeline, section: TrainingSection, seed: int) -> None:
    """Hear of faults of an experiment's trainings early; data that none uses are not opened.

    Raises:
        DataError: if there is no such data, it cannot be used, or has not one whole batch.
        ValueError: if workers cannot share a batch equally.
    """
    trainings = [each for each in (section.round, section.final) if each.steps]
    for settings in trainings:
        parts_of_batch(settings, Workers(count=section.workers))
    if trainings:
        largest = max(settings.batch_size for settings in trainings)
        training_data(pipeline, section, seed).check(largest)


class RoundTrainer:
    """Trains the supernet between decisions; every round leaves its weights in the run folder.

    A round goes on with the optimizer's moments and the average of the one before, so its state
    stays until the next is done.

    Args:
        trainer: does the trainings.
        start: the supernet's weights before the first round.
        section: settings of a round and of the training after the last one.
        seed: with the round it fixes a training.
        growth: how added copies begin.
        folder: for the weights, ``round-1.safetensors`` and so on.
        track: opens progress displays.
        log: keeps how the trainings go.
    """

    def __init__(
        self,
        trainer: SupernetTrainer,
        start: Mapping[str, Tensor],
        section: TrainingSection,
        seed: int,
        growth: Growth,
        folder: Path,
        track: Track,
        log: TrainingLog,
    ) -> None:
        self.trainer = trainer
        self.start = start
        self.section = section
        self.seed = seed
        self.growth = growth
        self.folder = folder
        self.track = track
        self.log = log
        self._rounds = 0

    def train(self, round_: int, architecture: Architecture) -> Mapping[str, Tensor]:
        """Weights after round ``round_``; from the run folder where it was trained before."""
        self._rounds = max(self._rounds, round_)  # an earlier one is asked for again by fronts
        before = self.start if round_ == 1 else load_tensors(self._file(f"round-{round_ - 1}"))[0]
        job = TrainingJob(
            before, architecture, self.section.round, self.seed * 1_000 + round_, self.growth
        )
        return self._train(f"round-{round_}", job, f"round-{round_ - 1}")

    def finish(
        self, weights: Mapping[str, Tensor], architecture: Architecture
    ) -> Mapping[str, Tensor]:
        """Weights after the longer training of the architecture found."""
        seed = self.seed * 1_000
        job = TrainingJob(weights, architecture, self.section.final, seed, self.growth)
        finished = self._train("final", job, f"round-{self._rounds}")
        self._file("final.training").unlink(missing_ok=True)
        return finished

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"

    def _train(self, name: str, job: TrainingJob, earlier: str) -> Mapping[str, Tensor]:
        finished, state = self._file(name), self._file(f"{name}.training")
        if finished.exists():
            return load_tensors(finished)[0]
        before = self._file(f"{earlier}.training")
        steps = job.settings.steps
        with self.track(f"{name}: training", steps) if steps else nullcontext(unseen) as told:
            told = self.log.following(name, job.settings, told)
            weights = self.trainer.train(job, state, before if before.exists() else None, told)
        save_tensors(finished, weights, {})
        before.unlink(missing_ok=True)
        return weights


def load_unet_weights(path: Path, unet: UNet2DConditionModel) -> dict[str, Tensor]:
    """Weights for a UNet from a safetensors file, in fp32.

    Raises:
        CheckpointError: naming the file, if it is missing, damaged, or of another UNet.
    """
    tensors, _ = load_tensors(path)
    own = unet.state_dict()
    wrong = sorted(
        name
        for name in own.keys() | tensors.keys()
        if name not in own or name not in tensors or own[name].shape != tensors[name].shape
    )
    if wrong:
        raise CheckpointError(
            f"{path}: is not of this UNet ({len(wrong)} weights differ, such as '{wrong[0]}'); "
            "give the weights that were trained from this pipeline"
        )
    return {name: value.float() for name, value in tensors.items()}


def train_supernet(
    trainer: SupernetTrainer,
    unet: UNet2DConditionModel,
    settings: SupernetTraining,
    seed: int,
    path: Path,
    on_progress: OnProgress,
    start: Mapping[str, Tensor] | None = None,
) -> None:
    """Robust training of a UNet from its own weights; writes them in fp16.

    Interrupted, it goes on from ``PATH.training.safetensors`` when called again.

    Args:
        trainer: does it, with the UNet's pipeline.
        unet: the base UNet.
        settings: of the training.
        seed: fixes all random choices.
        path: of the safetensors file to write.
        on_progress: called after each step.
        start: weights of a supernet to go on from, in place of the UNet's own.
    """
    checkpoint = path.with_suffix(".training.safetensors")
    full = take_inventory(unet_config(unet), granularity=settings.granularity).full()
    settings.training.dropping.check(full)
    parts_of_batch(settings.training, Workers(count=settings.workers))
    job = TrainingJob(start or unet.state_dict(), full, settings.training, seed)
    weights = trainer.train(job, checkpoint, None, on_progress)
    halves = {name: value.to(torch.float16) for name, value in weights.items()}
    save_tensors(path, halves, {"seed": str(seed), "settings": settings.model_dump_json()})
    checkpoint.unlink(missing_ok=True)
