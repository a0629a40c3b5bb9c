"""The denoising loss of a diffusion UNet, for every prediction type."""

from __future__ import annotations

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.training_utils import compute_snr
from torch import Tensor
from torch.nn import functional as F


def denoising_loss(
    unet: UNet2DConditionModel,
    latents: Tensor,
    encoder_hidden_states: Tensor,
    noise_scheduler: DDIMScheduler,
    generator: torch.Generator,
    snr_gamma: float | None = None,
    teacher: UNet2DConditionModel | None = None,
    distillation: float = 1.0,
) -> Tensor:
    """Mean squared error of the UNet's prediction at random timesteps.

    With a teacher, the target is drawn towards what it predicts from the same noisy latents (the
    output distillation of BK-SDM, arXiv 2305.15798): of the many pictures that fit a noisy one,
    the data hold one, the teacher their mean, so fewer steps suffice.

    Args:
        unet: predicts what ``noise_scheduler.config.prediction_type`` says.
        latents: clean latents times the VAE's scaling factor, ``(batch, 4, h, w)``.
        encoder_hidden_states: ``(batch, tokens, width)``.
        noise_scheduler: gives the noise schedule and the prediction type.
        generator: fixes noise and timesteps; timesteps are stratified over the batch, which
            leaves their distribution uniform and lowers the variance of the loss.
        snr_gamma: the gamma of min-SNR weighting (arXiv 2303.09556, Eq. 5); None weighs all
            timesteps alike.
        teacher: predicts in the same way as ``unet``; none by default.
        distillation: the teacher's share of the target, in [0, 1]; the rest is the data's.

    Returns:
        A scalar.

    Raises:
        ValueError: if the scheduler's prediction type is unknown.
    """
    count = len(latents)
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    strata = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    total = noise_scheduler.config.num_train_timesteps
    timestep = (strata * total).long().clamp(max=total - 1).to(latents.device)
    noisy = noise_scheduler.add_noise(latents, noise, timestep)
    prediction = unet(noisy, timestep, encoder_hidden_states).sample
    target = _target(noise_scheduler, latents, noise, timestep).float()
    if teacher is not None:
        with torch.no_grad():
            taught = teacher(noisy, timestep, encoder_hidden_states).sample.float()
        # Up to a constant the same as two weighted losses, one for each target.
        target = torch.lerp(target, taught, distillation)
    errors = F.mse_loss(prediction.float(), target, reduction="none").mean(dim=(1, 2, 3))
    if snr_gamma is not None:
        errors = errors * _min_snr_weight(noise_scheduler, timestep, snr_gamma)
    return errors.mean()


def _target(
    noise_scheduler: DDIMScheduler, latents: Tensor, noise: Tensor, timestep: Tensor
) -> Tensor:
    prediction_type = noise_scheduler.config.prediction_type
    if prediction_type == "epsilon":
        return noise
    if prediction_type == "v_prediction":
        velocity: Tensor = noise_scheduler.get_velocity(latents, noise, timestep)
        return velocity
    if prediction_type == "sample":
        return latents
    raise ValueError(
        f"unknown prediction_type {prediction_type!r} in the scheduler's configuration: "
        "use epsilon, v_prediction or sample"
    )


def _min_snr_weight(noise_scheduler: DDIMScheduler, timestep: Tensor, gamma: float) -> Tensor:
    """Weight of each prediction type so that the loss on x0 is weighted by min(SNR, gamma)."""
    snr = compute_snr(noise_scheduler, timestep)
    clipped = snr.clamp(max=gamma)
    by_type = {"epsilon": clipped / snr, "v_prediction": clipped / (snr + 1), "sample": clipped}
    return by_type[noise_scheduler.config.prediction_type]
