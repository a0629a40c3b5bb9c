"""Teaching a UNet of noise to predict velocities instead (SnapFusion, Sec. 4, Eq. 6).

Noise says nothing of the picture where there is hardly any signal, and that is where a sampler of
few steps begins; so a student predicts velocities before it learns to take fewer steps.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor

from supernet.batches import Batches
from supernet.loss import Noise, add_noise, denoising_loss, draw_noise, predict
from supernet.optimization import Optimization
from supernet.training_context import autocast, seeded, training_mode
from supernet.training_settings import OptimizationSettings


def velocity_scheduler(
    noise_scheduler: DDIMScheduler, zero_terminal_snr: bool = False
) -> DDIMScheduler:
    """How a UNet of velocities samples that was made from one with this scheduler.

    Its steps begin at the last timestep ("trailing"), for only there is nothing but noise; nothing
    is clipped, for latents may be of any size.

    Args:
        noise_scheduler: has the noise schedule.
        zero_terminal_snr: whether that is rescaled so that its last timestep has no signal at all
            (arXiv 2305.08891, Algorithm 1); a schedule that was rescaled before stays so.
    """
    rescaled = zero_terminal_snr or noise_scheduler.config.rescale_betas_zero_snr
    scheduler: DDIMScheduler = DDIMScheduler.from_config(
        noise_scheduler.config,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        rescale_betas_zero_snr=rescaled,
        clip_sample=False,
        thresholding=False,
    )
    return scheduler


def train_velocity(
    unet: UNet2DConditionModel,
    batches: Batches,
    noise_scheduler: DDIMScheduler,
    settings: OptimizationSettings,
    seed: int,
    *,
    checkpoint: Path | None = None,
    on_progress: Callable[[int, dict[str, float]], None] | None = None,
) -> None:
    """Train a UNet in place, stock or standalone; it ends with the averaged weights, in eval mode.

    Where ``torch.distributed`` is initialized, its processes share every batch.

    Args:
        unet: begins with the weights of one that may have predicted anything.
        batches: clean latents with their prompts, by step.
        noise_scheduler: of velocities, see :func:`velocity_scheduler`.
        settings: all else.
        seed: fixes every random choice; a resumed training equals one that was not interrupted.
        checkpoint: file to save to now and then and to resume from if it is there.
        on_progress: called after each step with the number of steps done and the loss.

    Raises:
        CheckpointError: if the checkpoint is damaged or of another training.
        ValueError: if the scheduler is of no velocities, or workers cannot share a batch equally.
    """
    predicts = noise_scheduler.config.prediction_type
    if predicts != "v_prediction":
        raise ValueError(f"a scheduler with prediction_type {predicts!r} trains no velocities")
    device = unet.device
    optimization = Optimization(dict(unet.named_parameters()), settings, f"velocity {seed}")

    def gradients(step: int) -> Tensor:
        total = torch.zeros((), device=device)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        noise: Noise | None = None
        with seeded(f"{seed} {step} {optimization.workers.rank}", device):
            for rows in optimization.parts:
                with autocast(settings.precision, device):
                    batch = batches(step, rows).to(device)
                    if noise is None:  # of the whole batch, whatever is this worker's share of it
                        shape = (settings.batch_size, *batch.latents.shape[1:])
                        noise = draw_noise(shape, noise_scheduler, generator)
                    noisy = add_noise(batch, noise[rows], noise_scheduler)
                    loss = denoising_loss(predict(unet, noisy), noisy) / len(optimization.parts)
                optimization.scaler.scale(loss).backward()
                total += loss.detach()
        return total

    done = optimization.begin(checkpoint)
    with training_mode(unet, settings):
        optimization.run(gradients, done, checkpoint, on_progress)
