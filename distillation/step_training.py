"""Training a UNet to do in one DDIM step what its teacher does in two (SnapFusion, Sec. 4)."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from pydantic import Field, model_validator
from torch import Tensor

from distillation.noise_levels import NoiseLevel, noise_level
from distillation.step_loss import (
    Levels,
    Velocity,
    distillation_loss,
    guided,
    total_loss,
    two_steps,
)
from distillation.step_schedule import StepSchedule
from supernet.batches import Batch, Batches
from supernet.optimization import Optimization
from supernet.training_context import autocast, seeded, training_mode
from supernet.training_settings import OptimizationSettings


class StepDistillation(OptimizationSettings):
    """How a student learns to take fewer steps.

    Attributes:
        student_steps: that it samples in; the teacher takes twice as many.
        guided_share: p, the share of training steps whose loss is the CFG-aware one (Eq. 10), for
            the whole batch at a time; all others have the vanilla one (Eq. 9). The paper's is 0.1.
        guidance_scale: range of w in the former, uniform, one w a picture.
        original: gamma, weight of the denoising loss beside (Eq. 11).
        rescaled: whether that is brought to the size of the distillation loss first, part by part
            of a batch.
    """

    student_steps: int = Field(8, ge=1)
    guided_share: float = Field(0.1, ge=0, le=1)
    guidance_scale: tuple[float, float] = (2.0, 14.0)
    original: float = Field(0.2, ge=0)
    rescaled: bool = True

    @model_validator(mode="after")
    def _range(self) -> StepDistillation:
        low, high = self.guidance_scale
        if not 1 <= low <= high:
            raise ValueError(
                f"guidance_scale [{low:g}, {high:g}]: give a range from 1 on, the smaller one first"
            )
        return self


@dataclass(frozen=True)
class Draw:
    """The random part of a training step, for the whole batch.

    Attributes:
        noise: ``(batch, 4, h, w)``.
        steps: of the student's schedule, ``(batch,)``.
        guidance_scale: ``(batch,)``; None for the vanilla loss.
    """

    noise: Tensor
    steps: Tensor
    guidance_scale: Tensor | None

    def __getitem__(self, rows: range) -> Draw:
        chosen = list(rows)
        w = None if self.guidance_scale is None else self.guidance_scale[chosen]
        return Draw(self.noise[chosen], self.steps[chosen], w)

    @classmethod
    def of(cls, shape: tuple[int, ...], settings: StepDistillation, seed: int, step: int) -> Draw:
        """That of a training step, whatever was drawn before.

        Steps are stratified over the batch: every one of the student's is trained as often.
        """
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        count = shape[0]
        strata = (torch.arange(count) + torch.rand(count, generator=generator)) / count
        steps = (strata * settings.student_steps).long().clamp(max=settings.student_steps - 1)
        low, high = settings.guidance_scale
        w = low + (high - low) * torch.rand(count, generator=generator)
        is_guided = random.Random(f"{seed} {step}").random() < settings.guided_share
        noise = torch.randn(shape, generator=generator)
        return cls(noise, steps, w if is_guided else None)


class Targets(Protocol):
    """Where a teacher's two steps led. With the same teacher, data, seed and settings, that is a
    function of a training step, whoever the student is."""

    def __call__(self, step: int, rows: range, guided: bool, teach: Callable[[], Tensor]) -> Tensor:
        """Latents ``(len(rows), 4, h, w)`` in fp32, on any device.

        Args:
            step: of the training.
            rows: of its batch.
            guided: whether the step is under guidance.
            teach: works them out.
        """
        ...


def _worked_out(step: int, rows: range, guided: bool, teach: Callable[[], Tensor]) -> Tensor:
    return teach()


def distill_steps(
    student: UNet2DConditionModel,
    teacher: UNet2DConditionModel,
    batches: Batches,
    noise_scheduler: DDIMScheduler,
    settings: StepDistillation,
    empty_prompt: Tensor,
    seed: int,
    *,
    empty_text_embeds: Tensor | None = None,
    teacher_predicts: str = "v_prediction",
    targets: Targets | None = None,
    checkpoint: Path | None = None,
    on_progress: Callable[[int, dict[str, float]], None] | None = None,
) -> None:
    """Train a student in place; it ends with the averaged weights, in eval mode.

    Where ``torch.distributed`` is initialized, its processes share every batch, and end with the
    weights that one process would have, up to rounding.

    Args:
        student: predicts velocities.
        teacher: of any size with the same inputs; it is left as it is.
        batches: clean latents with their prompts, by step.
        noise_scheduler: the noise schedule of both, and how the student will sample.
        settings: all else.
        empty_prompt: ``encoder_hidden_states`` of no prompt, ``(1, tokens, width)``.
        seed: fixes every random choice; a resumed training equals one that was not interrupted.
        empty_text_embeds: what SDXL's UNets are given of no prompt besides, ``(1, width)``.
        teacher_predicts: its ``prediction_type``.
        targets: what is asked for the teacher's answers before the teacher is.
        checkpoint: file to save to now and then and to resume from if it is there.
        on_progress: called after each step with the number of steps done and the loss.

    Raises:
        CheckpointError: if the checkpoint is damaged or of another training.
        ValueError: if the scheduler does not say that the student predicts velocities, there are
            fewer timesteps than steps, workers cannot share a batch equally, or SDXL's UNets lack
            what they are given of no prompt.
    """
    predicts = noise_scheduler.config.prediction_type
    if predicts != "v_prediction":
        raise ValueError(
            f"the student's scheduler has prediction_type {predicts!r}; fine-tune the UNet with "
            "v_prediction first, which knows what to do where there is hardly any signal"
        )
    if student.config.addition_embed_type == "text_time" and empty_text_embeds is None:
        raise ValueError("an SDXL UNet needs empty_text_embeds; give those of no prompt")
    training = _Training(
        student,
        teacher,
        batches,
        noise_scheduler,
        settings,
        _NoPrompt(empty_prompt, empty_text_embeds),
        seed,
        teacher_predicts,
        targets or _worked_out,
    )
    done = training.optimization.begin(checkpoint)
    with training_mode(student, settings):
        training.optimization.run(training.gradients, done, checkpoint, on_progress)


@dataclass(frozen=True)
class _NoPrompt:
    """What a UNet is given without a prompt, one row of each; see :class:`Batch`."""

    encoder_hidden_states: Tensor
    text_embeds: Tensor | None

    def beside(self, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor] | None]:
        """Prompts of a batch and as many empty ones behind them, and SDXL's conditions of both.

        The empty ones have the sizes of the pictures, as in SDXL's pipeline.
        """
        prompts, added = batch.encoder_hidden_states, batch.added_cond_kwargs
        both = torch.cat([prompts, self.encoder_hidden_states.to(prompts).expand_as(prompts)])
        if added is None:
            return both, None
        assert self.text_embeds is not None, "UNets with added conditions have one of no prompt"
        texts = added["text_embeds"]
        return both, {
            "text_embeds": torch.cat([texts, self.text_embeds.to(texts).expand_as(texts)]),
            "time_ids": added["time_ids"].repeat(2, 1),
        }


class _Training:
    """A training on its way."""

    def __init__(
        self,
        student: UNet2DConditionModel,
        teacher: UNet2DConditionModel,
        batches: Batches,
        noise_scheduler: DDIMScheduler,
        settings: StepDistillation,
        no_prompt: _NoPrompt,
        seed: int,
        teacher_predicts: str,
        targets: Targets,
    ) -> None:
        self.student = student
        self.teacher = teacher
        self.batches = batches
        self.noise_scheduler = noise_scheduler
        self.settings = settings
        self.no_prompt = no_prompt
        self.seed = seed
        self.teacher_predicts = teacher_predicts
        self.targets = targets
        self.device = student.device
        self.schedule = StepSchedule.of(noise_scheduler, settings.student_steps)
        self.optimization = Optimization(
            dict(student.named_parameters()), settings, f"steps {seed} {teacher_predicts}"
        )

    def gradients(self, step: int) -> Tensor:
        """Those of a step; returns its loss."""
        total = torch.zeros((), device=self.device)
        parts = self.optimization.parts
        draw: Draw | None = None
        with seeded(f"{self.seed} {step} {self.optimization.workers.rank}", self.device):
            for rows in parts:
                batch = self.batches(step, rows).to(self.device)
                if draw is None:  # of the whole batch, whatever is this worker's share of it
                    shape = (self.settings.batch_size, *batch.latents.shape[1:])
                    draw = Draw.of(shape, self.settings, self.seed, step)
                loss = self._loss(step, rows, batch, draw[rows]) / len(parts)
                self.optimization.scaler.scale(loss).backward()
                total += loss.detach()
        return total

    def _loss(self, step: int, rows: range, batch: Batch, draw: Draw) -> Tensor:
        """Of some pictures; the student is asked once, also for the denoising loss."""
        w = None if draw.guidance_scale is None else draw.guidance_scale.to(self.device)
        steps = self.schedule[draw.steps].to(self.device)
        clean, noise = batch.latents.float(), draw.noise.to(self.device)
        levels = Levels(
            noise_level(self.noise_scheduler, steps.start, clean),
            noise_level(self.noise_scheduler, steps.middle, clean),
            noise_level(self.noise_scheduler, steps.end, clean),
        )
        noisy = levels.start.noisy(clean, noise)

        def teach() -> Tensor:
            teacher = self._velocity(self.teacher, self.teacher_predicts, batch, w)
            return two_steps(teacher, noisy, levels, (steps.start, steps.middle))

        with torch.no_grad():
            reached = self.targets(step, rows, w is not None, teach).to(self.device)
        with_prompt, without = self._ask(self.student, noisy, steps.start, batch, w is not None)
        velocity = with_prompt if w is None else guided(with_prompt, without, w)
        distilled = distillation_loss(velocity, noisy, reached, levels).mean()
        if not self.settings.original:
            return distilled
        original = (with_prompt - levels.start.velocity(clean, noise)).square().mean()
        sizes = None
        if self.settings.rescaled:  # by all workers' rows, so that it is the same for each
            mean = self.optimization.workers.mean
            sizes = mean(distilled.detach()), mean(original.detach())
        return total_loss(distilled, original, self.settings.original, sizes)

    def _velocity(
        self, unet: UNet2DConditionModel, predicts: str, batch: Batch, w: Tensor | None
    ) -> Velocity:
        """A UNet's velocity of a batch's prompts, guided where there is a guidance scale."""

        def velocity(noisy: Tensor, level: NoiseLevel, timestep: Tensor) -> Tensor:
            with_prompt, without = self._ask(unet, noisy, timestep, batch, w is not None)
            answer = with_prompt if w is None else guided(with_prompt, without, w)
            return level.as_velocity(answer, noisy, predicts)

        return velocity

    def _ask(
        self,
        unet: UNet2DConditionModel,
        noisy: Tensor,
        timestep: Tensor,
        batch: Batch,
        also_without: bool,
    ) -> tuple[Tensor, Tensor]:
        """Its answers with the prompts and, in the same pass, with none."""
        prompts, added = batch.encoder_hidden_states, batch.added_cond_kwargs
        timestep = timestep.clamp(min=0)
        if also_without:
            prompts, added = self.no_prompt.beside(batch)
            noisy, timestep = noisy.repeat(2, 1, 1, 1), timestep.repeat(2)
        with autocast(self.settings.precision, self.device):
            answer = unet(noisy, timestep, prompts, added_cond_kwargs=added).sample.float()
        count = len(batch.latents)
        return answer[:count], answer[count:]
