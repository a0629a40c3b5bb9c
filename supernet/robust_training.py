"""Robust training: weights that survive the loss of any block (SnapFusion, Sec. 3.1, Eq. 5).

Every training step runs a random sub-architecture: each block is executed with some probability
and is the identity otherwise, so that later a block can be removed without a collapse. With a
keep probability of 1 this is plain training of the UNet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor

from supernet.architecture import Architecture
from supernet.batches import Batches
from supernet.block_dropping import sample_passes
from supernet.growth import Growth, inherit
from supernet.loss import (
    Noise,
    NoisyBatch,
    Prediction,
    add_noise,
    denoising_loss,
    draw_noise,
    predict,
)
from supernet.optimization import Optimization
from supernet.per_sample import running_each
from supernet.supernet import Supernet
from supernet.training_context import autocast, seeded, training_mode
from supernet.training_settings import TrainingSettings


def train(
    supernet: Supernet,
    batches: Batches,
    noise_scheduler: DDIMScheduler,
    settings: TrainingSettings,
    seed: int,
    *,
    architecture: Architecture | None = None,
    teacher: UNet2DConditionModel | None = None,
    checkpoint: Path | None = None,
    continue_from: Path | None = None,
    growth: Growth = "copy",
    on_progress: Callable[[int, dict[str, float]], None] | None = None,
) -> None:
    """Train the supernet in place; it ends with the averaged (EMA) weights, in eval mode.

    Where ``torch.distributed`` is initialized, its processes share every batch: all call this
    alike, and all end with the weights that one process would have (up to rounding; where the
    UNet has dropout each process draws its own).

    Args:
        supernet: its UNet's weights are trained.
        batches: the data, by step.
        noise_scheduler: noise schedule and prediction type.
        settings: all else.
        seed: fixes every random choice; step k of a resumed training equals step k of one that
            was never interrupted.
        architecture: the largest one that is trained; all blocks by default.
        teacher: what distillation asks for; it is left as it is.
        checkpoint: file to save to now and then and to resume from if it is there. A finished
            training leaves it behind, so that calling again does nothing.
        continue_from: the checkpoint that an earlier, finished training left. Its weights, their
            average and the optimizer's moments are gone on with; steps and the schedule of the
            learning rate begin anew.
        growth: how copies of blocks began that the UNet has got since then; they take over the
            moments and the average of their source (:func:`supernet.growth.inherit`).
        on_progress: called after each step with the number of steps done and the loss.

    Raises:
        CheckpointError: if a checkpoint is damaged or belongs to another model, optimizer or (in
            the case of ``checkpoint``) other settings or seed.
        ValueError: if there is distillation without a teacher, ``settings.dropping`` names a
            block that there is none of, or workers cannot share a batch equally.
    """
    if (settings.distillation or settings.feature_distillation) and teacher is None:
        raise ValueError(
            "distillation needs a teacher: give one, or set distillation and "
            "feature_distillation to 0"
        )
    architecture = architecture or supernet.full()
    settings.dropping.check(architecture)
    training = _Training(supernet, batches, noise_scheduler, settings, seed, architecture, teacher)
    complete = partial(inherit, unet=supernet.unet, growth=growth)
    done = training.optimization.begin(checkpoint, continue_from, complete)
    with training_mode(supernet.unet, settings):
        training.optimization.run(training.gradients, done, checkpoint, on_progress)


class _Training:
    """A training on its way."""

    def __init__(
        self,
        supernet: Supernet,
        batches: Batches,
        noise_scheduler: DDIMScheduler,
        settings: TrainingSettings,
        seed: int,
        architecture: Architecture,
        teacher: UNet2DConditionModel | None,
    ) -> None:
        self.supernet = supernet
        self.batches = batches
        self.noise_scheduler = noise_scheduler
        self.settings = settings
        self.seed = seed
        self.architecture = architecture
        self.teacher = teacher
        self.device = supernet.unet.device
        parameters = dict(supernet.unet.named_parameters())
        self.optimization = Optimization(parameters, settings, f"{seed} {architecture.id}")

    def gradients(self, step: int) -> Tensor:
        """Those of a step; returns its loss."""
        dropping, batch_size = self.settings.dropping, self.settings.batch_size
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        passes = sample_passes(self.architecture, dropping, step, batch_size, generator)
        with seeded(f"{self.seed} {step} {self.optimization.workers.rank}", self.device):
            return self._gradients(step, passes, generator)

    def _gradients(
        self, step: int, passes: Sequence[Sequence[Architecture]], generator: torch.Generator
    ) -> Tensor:
        """Those of the mean loss over this worker's rows and all passes; returns that loss."""
        share = 1 / (len(self.optimization.parts) * len(passes))
        total = torch.zeros((), device=self.device)
        noise: Noise | None = None
        for rows in self.optimization.parts:
            with autocast(self.settings.precision, self.device):
                batch = self.batches(step, rows).to(self.device)
                if noise is None:  # of the whole batch, whatever is this worker's share of it
                    shape = (self.settings.batch_size, *batch.latents.shape[1:])
                    noise = draw_noise(shape, self.noise_scheduler, generator)
                noisy = add_noise(batch, noise[rows], self.noise_scheduler, self.settings.snr_gamma)
                taught = self._taught(noisy)
            for architectures in passes:
                with running_each(self.supernet, [architectures[row] for row in rows]):
                    loss = share * self._loss(noisy, taught)
                    self.optimization.scaler.scale(loss).backward()
                total += loss.detach()
        return total

    @torch.no_grad()
    def _taught(self, noisy: NoisyBatch) -> Prediction | None:
        """What the teacher predicts, once for all passes."""
        settings = self.settings
        if self.teacher is None or not (settings.distillation or settings.feature_distillation):
            return None
        return predict(self.teacher, noisy, with_stages=settings.feature_distillation > 0)

    def _loss(self, noisy: NoisyBatch, taught: Prediction | None) -> Tensor:
        settings = self.settings
        with autocast(settings.precision, self.device):
            with_stages = settings.feature_distillation > 0
            return denoising_loss(
                predict(self.supernet.unet, noisy, with_stages),
                noisy,
                taught,
                settings.distillation,
                settings.feature_distillation,
            )
