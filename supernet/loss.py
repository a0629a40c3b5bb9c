"""The denoising loss of a diffusion UNet, for every prediction type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.training_utils import compute_snr
from torch import Tensor
from torch.nn import functional as F

from supernet.batches import Batch
from supernet.feature_distillation import feature_loss, stage_outputs


@dataclass(frozen=True)
class Noise:
    """The random part of a step's loss, for the whole batch.

    Attributes:
        noise: standard normal, ``(batch, 4, h, w)``.
        timestep: ``(batch,)``.
    """

    noise: Tensor
    timestep: Tensor

    def __getitem__(self, rows: range) -> Noise:
        return Noise(self.noise[list(rows)], self.timestep[list(rows)])


def draw_noise(
    shape: Sequence[int], noise_scheduler: DDIMScheduler, generator: torch.Generator
) -> Noise:
    """Noise of a shape ``(batch, 4, h, w)`` and a timestep for each picture.

    Timesteps are stratified over the batch, which leaves their distribution uniform and lowers
    the variance of the loss.
    """
    count = shape[0]
    noise = torch.randn(tuple(shape), generator=generator)
    strata = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    total = noise_scheduler.config.num_train_timesteps
    return Noise(noise, (strata * total).long().clamp(max=total - 1))


@dataclass(frozen=True)
class NoisyBatch:
    """A batch with noise added: what a UNet is asked, and the right answer by the data.

    Attributes:
        latents: the noisy ones, ``(batch, 4, h, w)``.
        timestep: ``(batch,)``.
        encoder_hidden_states: ``(batch, tokens, width)``.
        added_cond_kwargs: see :class:`supernet.batches.Batch`.
        target: of the prediction, ``(batch, 4, h, w)``.
        weight: of each picture's error, ``(batch,)``; None weighs all alike.
    """

    latents: Tensor
    timestep: Tensor
    encoder_hidden_states: Tensor
    added_cond_kwargs: Mapping[str, Tensor] | None
    target: Tensor
    weight: Tensor | None


def add_noise(
    batch: Batch, noise: Noise, noise_scheduler: DDIMScheduler, snr_gamma: float | None = None
) -> NoisyBatch:
    """Mix a batch with noise.

    Args:
        batch: clean latents with their prompts.
        noise: for the same number of pictures.
        noise_scheduler: gives the noise schedule and the prediction type.
        snr_gamma: the gamma of min-SNR weighting (arXiv 2303.09556, Eq. 5); None weighs all
            timesteps alike.

    Raises:
        ValueError: if the scheduler's prediction type is unknown.
    """
    latents = batch.latents
    drawn, timestep = noise.noise.to(latents), noise.timestep.to(latents.device)
    return NoisyBatch(
        latents=noise_scheduler.add_noise(latents, drawn, timestep),
        timestep=timestep,
        encoder_hidden_states=batch.encoder_hidden_states,
        added_cond_kwargs=batch.added_cond_kwargs,
        target=_target(noise_scheduler, latents, drawn, timestep).float(),
        weight=None if snr_gamma is None else _min_snr_weight(noise_scheduler, timestep, snr_gamma),
    )


@dataclass(frozen=True)
class Prediction:
    """A UNet's answer.

    Attributes:
        sample: ``(batch, 4, h, w)``.
        stages: the outputs of its stages, or nothing if they were not asked for.
    """

    sample: Tensor
    stages: Sequence[Tensor]


def predict(unet: UNet2DConditionModel, noisy: NoisyBatch, with_stages: bool = False) -> Prediction:
    """Ask a UNet; it predicts what ``noise_scheduler.config.prediction_type`` says."""

    def sample() -> Tensor:
        answer: Tensor = unet(
            noisy.latents,
            noisy.timestep,
            noisy.encoder_hidden_states,
            added_cond_kwargs=noisy.added_cond_kwargs,
        ).sample
        return answer

    if not with_stages:
        return Prediction(sample(), ())
    with stage_outputs(unet) as stages:
        return Prediction(sample(), stages)


def denoising_loss(
    prediction: Prediction,
    noisy: NoisyBatch,
    taught: Prediction | None = None,
    distillation: float = 0.0,
    feature_distillation: float = 0.0,
) -> Tensor:
    """Mean squared error of a prediction; a scalar.

    With what a teacher predicts from the same noisy latents, the target is drawn towards it and
    stages are drawn towards its stages (the output and feature distillation of BK-SDM, arXiv
    2305.15798, Sec. 4.2): of the many pictures that fit a noisy one, the data hold one, the
    teacher their mean, so fewer steps suffice.

    Args:
        prediction: the UNet's.
        noisy: what it was asked.
        taught: the teacher's; none by default.
        distillation: the teacher's share of the target, in [0, 1]; the rest is the data's.
        feature_distillation: weight of :func:`supernet.feature_distillation.feature_loss`, which
            knows no weights of timesteps; above 0 both predictions have to be with stages.
    """
    target = noisy.target
    if taught is not None and distillation:
        # Up to a constant the same as two weighted losses, one for each target.
        target = torch.lerp(target, taught.sample.float(), distillation)
    errors = F.mse_loss(prediction.sample.float(), target, reduction="none").mean(dim=(1, 2, 3))
    if noisy.weight is not None:
        errors = errors * noisy.weight
    loss = errors.mean()
    if taught is not None and feature_distillation:
        loss = loss + feature_distillation * feature_loss(prediction.stages, taught.stages)
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
    by_type = {
        # min(SNR, gamma) / SNR; written so, it is 1 where a schedule ends at an SNR of zero.
        "epsilon": (gamma / snr).clamp(max=1),
        "v_prediction": snr.clamp(max=gamma) / (snr + 1),
        "sample": snr.clamp(max=gamma),
    }
    return by_type[noise_scheduler.config.prediction_type]
