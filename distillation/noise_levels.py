"""Noise levels of a diffusion process, and DDIM steps between them (SnapFusion, Sec. 4).

Latents at a level are ``z = alpha x + sigma epsilon`` of clean latents x and noise epsilon, with
``alpha^2 + sigma^2 = 1``, and the velocity is ``v = alpha epsilon - sigma x``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import DDIMScheduler
from torch import Tensor


@dataclass(frozen=True)
class NoiseLevel:
    """One level for each picture of a batch; both ``(batch, 1, 1, 1)``.

    Attributes:
        alpha: share of the signal, in [0, 1].
        sigma: share of the noise, in [0, 1].
    """

    alpha: Tensor
    sigma: Tensor

    def __getitem__(self, rows: slice) -> NoiseLevel:
        return NoiseLevel(self.alpha[rows], self.sigma[rows])

    def repeated(self, times: int) -> NoiseLevel:
        """For a batch that has every picture so many times, one copy of all after the other."""
        return NoiseLevel(self.alpha.repeat(times, 1, 1, 1), self.sigma.repeat(times, 1, 1, 1))

    def noisy(self, clean: Tensor, noise: Tensor) -> Tensor:
        """Clean latents at this level, ``(batch, 4, h, w)``."""
        return self.alpha * clean + self.sigma * noise

    def velocity(self, clean: Tensor, noise: Tensor) -> Tensor:
        """Of clean latents and their noise."""
        return self.alpha * noise - self.sigma * clean

    def clean(self, noisy: Tensor, velocity: Tensor) -> Tensor:
        """The clean latents that a velocity implies."""
        return self.alpha * noisy - self.sigma * velocity

    def noise(self, noisy: Tensor, velocity: Tensor) -> Tensor:
        """The noise that a velocity implies."""
        return self.sigma * noisy + self.alpha * velocity

    def as_velocity(self, prediction: Tensor, noisy: Tensor, prediction_type: str) -> Tensor:
        """What a UNet's answer of any type says of the velocity.

        Args:
            prediction: of ``noisy``, ``(batch, 4, h, w)``.
            noisy: latents at this level.
            prediction_type: ``v_prediction``, ``epsilon`` or ``sample``. Noise says nothing of the
                signal where there is none (alpha 0), and clean latents nothing where there is no
                noise (sigma 0): the result is then not finite.

        Raises:
            ValueError: if the type is unknown.
        """
        if prediction_type == "v_prediction":
            return prediction
        if prediction_type == "epsilon":
            return (prediction - self.sigma * noisy) / self.alpha
        if prediction_type == "sample":
            return (self.alpha * noisy - prediction) / self.sigma
        raise ValueError(
            f"unknown prediction_type {prediction_type!r}: use epsilon, v_prediction or sample"
        )

    def step(self, noisy: Tensor, velocity: Tensor, to: NoiseLevel) -> Tensor:
        """A DDIM step to another level (Eq. 2): what is implied, mixed anew."""
        return to.noisy(self.clean(noisy, velocity), self.noise(noisy, velocity))


def noise_level(noise_scheduler: DDIMScheduler, timestep: Tensor, like: Tensor) -> NoiseLevel:
    """The level of each timestep ``(batch,)``.

    Below 0 lies the end of sampling: a DDIM scheduler's ``final_alpha_cumprod``.

    Args:
        noise_scheduler: has the schedule.
        timestep: below its ``num_train_timesteps``.
        like: has the device and precision wanted.
    """
    cumulative = noise_scheduler.alphas_cumprod.double().to(timestep.device)
    end = noise_scheduler.final_alpha_cumprod.to(cumulative)
    at = torch.where(timestep < 0, end, cumulative[timestep.clamp(min=0)]).view(-1, 1, 1, 1)
    return NoiseLevel(at.sqrt().to(like), (1 - at).sqrt().to(like))
