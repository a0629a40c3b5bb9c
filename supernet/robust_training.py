"""Robust training: weights that survive the loss of any block (SnapFusion, Sec. 3.1, Eq. 5).

Every training step runs a random sub-architecture: each block is executed with some probability
and is the identity otherwise, so that later a block can be removed without a collapse. With a
keep probability of 1 this is plain training of the UNet.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Literal

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from diffusers.training_utils import EMAModel
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn

from supernet.architecture import Architecture
from supernet.batches import Batches
from supernet.checkpoint import load_training_state, save_training_state
from supernet.loss import denoising_loss
from supernet.supernet import Supernet


class TrainingSettings(BaseModel):
    """How a supernet is trained.

    The paper publishes no keep probability. Here each step draws one uniformly from
    ``keep_prob`` and keeps every block with it: steps near the lower end prepare for small
    architectures, steps near the upper end keep the full one intact.

    Attributes:
        keep_prob: the range, within (0, 1]; ``(1, 1)`` is plain training.
        adam_beta2: AdamW's second beta. Its mean of squared gradients remembers about
            1 / (1 - adam_beta2) steps: the usual 0.999 is long for a training of a few hundred.
        snr_gamma: see :func:`supernet.loss.denoising_loss`.
        distillation: the share of the target that a teacher, the base UNet, gives in place of the
            data, in [0, 1]; 0, the paper's way, needs no teacher.
        precision: of the forward pass; ``bf16`` is autocast.
        checkpoint_every: steps.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(ge=0)
    batch_size: int = Field(64, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_steps: int = Field(50, ge=0)
    adam_beta2: float = Field(0.999, gt=0, lt=1)
    weight_decay: float = Field(0.01, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    ema_decay: float = Field(0.999, ge=0, lt=1)
    keep_prob: tuple[float, float] = (0.5, 1.0)
    snr_gamma: float | None = Field(None, gt=0)
    distillation: float = Field(0.0, ge=0, le=1)
    precision: Literal["fp32", "bf16"] = "bf16"
    checkpoint_every: int = Field(200, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> TrainingSettings:
        low, high = self.keep_prob
        if not 0 < low <= high <= 1:
            raise ValueError("keep_prob is a range [low, high] with 0 < low <= high <= 1")
        return self


def sample_architecture(
    architecture: Architecture, keep_prob: tuple[float, float], generator: torch.Generator
) -> Architecture:
    """A random sub-architecture: every block that runs is kept with one drawn probability (Eq. 5).

    Blocks that ``architecture`` lacks stay away.
    """
    low, high = keep_prob
    drawn = low + (high - low) * torch.rand((), generator=generator).item()
    if drawn >= 1:
        return architecture
    uniform = torch.rand(len(architecture.blocks), generator=generator).tolist()
    dropped = [
        block
        for (block, count), u in zip(architecture.blocks, uniform, strict=True)
        if count and u >= drawn
    ]
    return architecture.without(dropped)


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
    on_progress: Callable[[int, dict[str, float]], None] | None = None,
) -> None:
    """Train the supernet in place; it ends with the averaged (EMA) weights, in eval mode.

    Args:
        supernet: its UNet's weights are trained.
        batches: the data, by step.
        noise_scheduler: noise schedule and prediction type.
        settings: all else.
        seed: fixes every random choice; step k of a resumed training equals step k of one that
            was never interrupted.
        architecture: the largest one that is trained; all blocks by default.
        teacher: what ``settings.distillation`` asks for; it is left as it is.
        checkpoint: file to save to now and then and to resume from if it is there. A finished
            training leaves it behind, so that calling again does nothing.
        on_progress: called after each step with the number of steps done and the loss.

    Raises:
        CheckpointError: if the checkpoint is damaged or belongs to another training.
        ValueError: if there is distillation without a teacher.
    """
    if settings.distillation and teacher is None:
        raise ValueError("distillation needs a teacher: give one, or set distillation to 0")
    architecture = architecture or supernet.full()
    parameters = dict(supernet.unet.named_parameters())
    optimizer = torch.optim.AdamW(
        parameters.values(),
        lr=settings.learning_rate,
        betas=(0.9, settings.adam_beta2),
        weight_decay=settings.weight_decay,
        fused=True,
    )
    ema = EMAModel(parameters.values(), decay=settings.ema_decay)
    done = 0
    if checkpoint is not None and checkpoint.exists():
        done = load_training_state(checkpoint, parameters, optimizer, ema)
    supernet.unet.train()
    for step in range(done, settings.steps):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        sampled = sample_architecture(architecture, settings.keep_prob, generator)
        optimizer.zero_grad(set_to_none=True)
        with supernet.running(sampled) as unet, _unfused_attention(unet):
            with _autocast(settings.precision, unet.device):
                batch = batches(step, range(settings.batch_size))
                loss = denoising_loss(
                    unet,
                    batch.latents,
                    batch.encoder_hidden_states,
                    noise_scheduler,
                    generator,
                    settings.snr_gamma,
                    teacher if settings.distillation else None,
                    settings.distillation,
                )
            loss.backward()
        nn.utils.clip_grad_norm_(parameters.values(), settings.max_grad_norm)
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _lr_factor(step, settings)
        optimizer.step()
        ema.step(parameters.values())
        done = step + 1
        if checkpoint is not None and (
            done % settings.checkpoint_every == 0 or done == settings.steps
        ):
            save_training_state(checkpoint, done, parameters, optimizer, ema)
        if on_progress is not None:
            on_progress(done, {"loss": loss.item()})
    ema.copy_to(parameters.values())
    supernet.unet.eval()


def _lr_factor(step: int, settings: TrainingSettings) -> float:
    """Linear warm-up, then constant or a half cosine down to zero at the last step."""
    warm = min(1.0, (step + 1) / max(settings.warmup_steps, 1))
    if settings.schedule == "constant":
        return warm
    phase = math.pi * step / max(settings.steps, 1)
    return warm * 0.5 * (1 + math.cos(phase))


@contextmanager
def _unfused_attention(unet: UNet2DConditionModel) -> Iterator[None]:
    """Attention as plain matrix products while training on a CPU.

    The backward pass of torch's fused attention is slow there: on small feature maps a whole step
    takes half as long again.
    """
    if unet.device.type != "cpu":
        yield
        return
    fused = unet.attn_processors
    unet.set_attn_processor(AttnProcessor())
    try:
        yield
    finally:
        unet.set_attn_processor(fused)


def _autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)
