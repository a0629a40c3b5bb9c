"""The losses of step distillation: a student's one DDIM step against its teacher's two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from distillation.noise_levels import NoiseLevel

# The velocity of noisy latents at a level and its timesteps.
Velocity = Callable[[Tensor, NoiseLevel, Tensor], Tensor]


@dataclass(frozen=True)
class Levels:
    """The noise levels of a student's step, and of the moment between the teacher's two."""

    start: NoiseLevel
    middle: NoiseLevel
    end: NoiseLevel


def guided(with_prompt: Tensor, without: Tensor, guidance_scale: Tensor) -> Tensor:
    """Classifier-free guidance (Eq. 3): ``w v(c) - (w - 1) v(empty)``.

    The same for velocities as for noise, because the weights add up to 1.

    Args:
        with_prompt: ``(batch, 4, h, w)``.
        without: likewise.
        guidance_scale: w, ``(batch,)``; 1 is no guidance.
    """
    w = guidance_scale.view(-1, 1, 1, 1).to(with_prompt)
    return w * with_prompt - (w - 1) * without


def two_steps(
    teacher: Velocity, noisy: Tensor, levels: Levels, timesteps: tuple[Tensor, Tensor]
) -> Tensor:
    """Where the teacher's two DDIM steps lead (Eq. 7), ``(batch, 4, h, w)``.

    Args:
        teacher: guided or not.
        noisy: latents at the start.
        levels: of both steps.
        timesteps: at the start and in the middle, ``(batch,)`` each.
    """
    halfway = levels.start.step(noisy, teacher(noisy, levels.start, timesteps[0]), levels.middle)
    velocity = teacher(halfway, levels.middle, timesteps[1])
    return levels.middle.step(halfway, velocity, levels.end)


def implied_clean(noisy: Tensor, reached: Tensor, levels: Levels) -> Tensor:
    """The clean latents by which one DDIM step from the start reaches some latents (Eq. 9).

    ``[z'' - (sigma''/sigma) z] / [alpha'' - (sigma''/sigma) alpha]``.
    """
    share = levels.end.sigma / levels.start.sigma
    return (reached - share * noisy) / (levels.end.alpha - share * levels.start.alpha)


def distillation_loss(velocity: Tensor, noisy: Tensor, reached: Tensor, levels: Levels) -> Tensor:
    """Distance of what student and teacher say of the clean latents (Eq. 9, Eq. 10); ``(batch,)``.

    The mean of the squares over a picture's values, times the truncated SNR weight
    ``max(alpha^2 / sigma^2, 1)`` of the start.

    Args:
        velocity: the student's at the start, guided if the teacher's was.
        noisy: latents at the start.
        reached: where the teacher's two steps led.
        levels: of the step.
    """
    student = levels.start.clean(noisy, velocity)
    errors = (student - implied_clean(noisy, reached, levels)).square().mean(dim=(1, 2, 3))
    snr = (levels.start.alpha / levels.start.sigma).square().flatten()
    return snr.clamp(min=1) * errors


def total_loss(
    distilled: Tensor,
    original: Tensor,
    gamma: float,
    sizes: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """``L_dstl + gamma L_ori`` (Eq. 11); scalars.

    Args:
        distilled: the distillation loss.
        original: the denoising loss.
        gamma: weight of the latter.
        sizes: of both losses, over all that share the batch: the denoising loss is then first
            brought to the size of the other by their ratio, which is taken as constant, as in the
            paper: unscaled it takes over.
    """
    factor: Tensor | float = 1.0
    if sizes is not None:
        of_distilled, of_original = (size.detach() for size in sizes)
        factor = of_distilled / of_original.clamp(min=torch.finfo(original.dtype).tiny)
    return distilled + gamma * factor * original
