"""The denoising loss of a diffusion UNet, for every prediction type."""

from __future__ import annotations

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.training_utils import compute_snr
from torch import Tensor
from torch.nn import functional as F

from supernet.distillation import Distillation, feature_distance, predict


def denoising_loss(
    unet: UNet2DConditionModel,
    latents: Tensor,
    encoder_hidden_states: Tensor,
    noise_scheduler: DDIMScheduler,
    generator: torch.Generator,
    snr_gamma: float | None = None,
    distillation: Distillation | None = None,
) -> Tensor:
    """Mean squared error of the UNet's prediction at random timesteps.

    With a teacher, the target is drawn towards what it predicts from the same noisy latents (the
    output distillation of BK-SDM, arXiv 2305.15798): of the many pictures that fit a noisy one,
    the data hold one, the teacher their mean, so fewer steps suffice. The distance between feature
    maps may be added to that (their feature distillation).

    Args:
        unet: predicts what ``noise_scheduler.config.prediction_type`` says.
        latents: clean latents times the VAE's scaling factor, ``(batch, 4, h, w)``.
        encoder_hidden_states: ``(batch, tokens, width)``.
        noise_scheduler: gives the noise schedule and the prediction type.
        generator: fixes noise and timesteps; timesteps are stratified over the batch, which
            leaves their distribution uniform and lowers the variance of the loss.
        snr_gamma: the gamma of min-SNR weighting (arXiv 2303.09556, Eq. 5); None weighs all
            timesteps alike.
        distillation: a teacher that predicts in the same way as ``unet``, and what is learnt from
            it; none by default.

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
    inputs = noisy, timestep, encoder_hidden_states
    with_features = distillation is not None and distillation.features > 0
    prediction, features = predict(unet, *inputs, with_features=with_features)
    target = _target(noise_scheduler, latents, noise, timestep).float()
    if distillation is not None:
        with torch.no_grad():
            taught, taught_features = predict(
                distillation.teacher, *inputs, with_features=with_features
            )
        # Up to a constant the same as two weighted losses, one for each target.
        target = torch.lerp(target, taught.float(), distillation.output)
    errors = F.mse_loss(prediction.float(), target, reduction="none").mean(dim=(1, 2, 3))
    if snr_gamma is not None:
        errors = errors * _min_snr_weight(noise_scheduler, timestep, snr_gamma)
    loss = errors.mean()
    if distillation is not None and with_features:
        loss = loss + distillation.features * feature_distance(features, taught_features)
    return loss


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
