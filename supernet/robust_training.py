"""Robust training: weights that survive the loss of any block (SnapFusion, Sec. 3.1, Eq. 5).

Every training step runs a random sub-architecture: each block is executed with some probability
and is the identity otherwise, so that later a block can be removed without a collapse. With a
keep probability of 1 this is plain training of the UNet.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from supernet.architecture import Architecture
from supernet.batches import Batches
from supernet.block_dropping import sample_passes
from supernet.checkpoint import (
    CheckpointError,
    TrainingState,
    load_training_state,
    save_training_state,
)
from supernet.distributed import Workers
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
    done = training.begin(checkpoint, continue_from, growth)
    with training_mode(supernet.unet, settings):
        while done < settings.steps:
            loss = training.step(done)
            done += 1
            is_last = done == settings.steps
            if checkpoint is not None and (is_last or done % settings.checkpoint_every == 0):
                training.save(checkpoint, done)
            if on_progress is not None:
                on_progress(done, {"loss": loss.item()})
    training.finish()


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
        self.workers = Workers.here()
        self.parts = parts_of_batch(settings, self.workers)
        parameters = dict(supernet.unet.named_parameters())
        self.parameters = list(parameters.values())
        self.workers.equal_weights(self.parameters)
        self.state = TrainingState(
            parameters,
            _optimizer(self.parameters, settings),
            torch.amp.GradScaler(self.device.type, enabled=settings.precision == "fp16"),
            EMAModel(self.parameters, settings.ema_decay) if settings.ema_decay else None,
        )

    @property
    def digest(self) -> str:
        """Tells this training from those with other settings, seeds or architectures."""
        text = f"{self.settings.model_dump_json()} {self.seed} {self.architecture.id}"
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def begin(self, checkpoint: Path | None, continue_from: Path | None, growth: Growth) -> int:
        """Load what there is to go on from; returns the number of steps done."""
        done = 0
        if checkpoint is not None and checkpoint.exists():
            done = load_training_state(checkpoint, self.state, self.digest)
        elif continue_from is not None:
            complete = partial(inherit, unet=self.supernet.unet, growth=growth)
            load_training_state(continue_from, self.state, complete=complete)
        if not self.workers.agree(done, self.device):
            raise CheckpointError(
                f"{checkpoint}: only some workers see it; put it where all of them can read it"
            )
        return done

    def save(self, checkpoint: Path, done: int) -> None:
        if self.workers.rank == 0:
            save_training_state(checkpoint, self.state, done, self.digest)
        self.workers.wait()

    def finish(self) -> None:
        if self.state.ema is not None:
            self.state.ema.copy_to(self.parameters)

    def step(self, step: int) -> Tensor:
        """One step of the optimizer; returns the loss."""
        dropping, batch_size = self.settings.dropping, self.settings.batch_size
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        passes = sample_passes(self.architecture, dropping, step, batch_size, generator)
        self.state.optimizer.zero_grad(set_to_none=True)
        with seeded(f"{self.seed} {step} {self.workers.rank}", self.device):
            loss = self._gradients(step, passes, generator)
        self.workers.average_gradients(self.parameters)
        self._update(step)
        return self.workers.mean(loss)

    def _gradients(
        self, step: int, passes: Sequence[Sequence[Architecture]], generator: torch.Generator
    ) -> Tensor:
        """Those of the mean loss over this worker's rows and all passes; returns that loss."""
        share = 1 / (len(self.parts) * len(passes))
        total = torch.zeros((), device=self.device)
        noise: Noise | None = None
        for rows in self.parts:
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
                    self.state.scaler.scale(loss).backward()
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

    def _update(self, step: int) -> None:
        """Let the optimizer and the average take the gradients that are there."""
        settings, state = self.settings, self.state
        state.scaler.unscale_(state.optimizer)
        nn.utils.clip_grad_norm_(self.parameters, settings.max_grad_norm)
        for group in state.optimizer.param_groups:
            group["lr"] = settings.learning_rate * _lr_factor(step, settings)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        if state.ema is not None:
            state.ema.step(self.parameters)


def parts_of_batch(settings: TrainingSettings, workers: Workers) -> list[range]:
    """This worker's rows of every part of a batch.

    Raises:
        ValueError: if the workers cannot share the parts equally.
    """
    if settings.batch_size % (settings.accumulation * workers.count):
        raise ValueError(
            f"a batch_size of {settings.batch_size} cannot be shared by {workers.count} workers "
            f"in {settings.accumulation} parts each; make it a multiple of "
            f"{settings.accumulation * workers.count}"
        )
    size = settings.batch_size // settings.accumulation
    starts = range(0, settings.batch_size, size)
    return [workers.share(range(start, start + size)) for start in starts]


def _optimizer(
    parameters: Sequence[nn.Parameter], settings: TrainingSettings
) -> torch.optim.Optimizer:
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "adafactor":
        # One weight after the other: all at once takes as much memory again as the weights.
        return torch.optim.Adafactor(parameters, lr=rate, weight_decay=decay, foreach=False)
    betas = (0.9, settings.adam_beta2)
    return torch.optim.AdamW(parameters, lr=rate, betas=betas, weight_decay=decay, fused=True)


def _lr_factor(step: int, settings: TrainingSettings) -> float:
    """Linear warm-up, then constant or a half cosine down to zero at the last step."""
    warm = min(1.0, (step + 1) / max(settings.warmup_steps, 1))
    if settings.schedule == "constant":
        return warm
    phase = math.pi * step / max(settings.steps, 1)
    return warm * 0.5 * (1 + math.cos(phase))
