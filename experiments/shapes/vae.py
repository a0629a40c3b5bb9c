"""The shapes world's autoencoder: 64x64 pictures to 16x16 latents of 4 channels."""

from __future__ import annotations

import math

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import OneCycleLR

from experiments.progress import OnProgress
from experiments.shapes.dataset import PictureSet, batch_rows
from experiments.shapes.render import IMAGE_SIZE
from supernet.training_context import autocast

LATENT_CHANNELS = 4
_CHANNEL_NOISE = 0.1  # standard deviation, of latents that have 1
_DECORRELATION = 0.1


def build_vae() -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=LATENT_CHANNELS,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        norm_num_groups=8,
        sample_size=IMAGE_SIZE,
    )


def train_vae(
    pictures: PictureSet, *, steps: int, batch_size: int, seed: int, on_progress: OnProgress
) -> AutoencoderKL:
    """Train on reconstruction (L1 + MSE) through a noisy channel of fixed power.

    Latents are standardised per channel, decorrelated by a penalty, and blurred by white noise
    before they are decoded. A KL term instead lets one channel (brightness) take almost all of
    the variance and leaves colours in amplitudes of a few per cent, which a diffusion model,
    whose loss is isotropic, learns last. Here every channel has to carry as much as it can.
    """
    torch.manual_seed(seed)
    vae = build_vae()
    standardise = nn.BatchNorm2d(LATENT_CHANNELS, eps=1e-6, momentum=0.02, affine=False)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=2e-3, betas=(0.9, 0.99))
    schedule = OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps, pct_start=0.1)
    for step, rows in enumerate(batch_rows(len(pictures), batch_size, range(steps), seed)):
        images = pictures.images(rows)
        with autocast("auto", torch.device("cpu")):
            latents = standardise(vae.encode(images).latent_dist.mean.float())
            noisy = latents + _CHANNEL_NOISE * torch.randn_like(latents)
            decoded = vae.decode(noisy).sample.float()
        correlation = _correlation(latents)
        loss = F.l1_loss(decoded, images) + F.mse_loss(decoded, images)
        optimizer.zero_grad(set_to_none=True)
        (loss + _DECORRELATION * correlation).backward()
        nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        on_progress(step + 1, {"loss": loss.item(), "correlation": correlation.item()})
    _fold(standardise, vae)
    vae.eval().requires_grad_(False)
    scale = 1.0 / encode(vae, pictures, slice(0, 1024)).std().item()
    vae.register_to_config(scaling_factor=round(scale, 5))
    return vae


def _correlation(latents: Tensor) -> Tensor:
    """Mean square of the correlations between channels of standardised latents, a scalar."""
    channels = latents.transpose(0, 1).flatten(1)
    correlations = channels @ channels.T / channels.shape[1]
    off_diagonal = correlations[~torch.eye(len(correlations), dtype=torch.bool)]
    return off_diagonal.square().mean()


@torch.no_grad()
def _fold(standardise: nn.BatchNorm2d, vae: AutoencoderKL) -> None:
    """Make the standardisation part of the encoder's last convolution, the noise its variance."""
    assert standardise.running_mean is not None
    assert standardise.running_var is not None
    scale = (standardise.running_var + standardise.eps).rsqrt()
    mean, log_variance = slice(0, LATENT_CHANNELS), slice(LATENT_CHANNELS, None)
    weight, bias = vae.quant_conv.weight, vae.quant_conv.bias
    weight[mean] *= scale[:, None, None, None]
    bias[mean] = (bias[mean] - standardise.running_mean) * scale
    weight[log_variance] = 0.0
    bias[log_variance] = 2 * math.log(_CHANNEL_NOISE)


def train_decoder(
    vae: AutoencoderKL,
    pictures: PictureSet,
    latents: Tensor,
    *,
    steps: int,
    batch_size: int,
    seed: int,
    on_progress: OnProgress,
) -> None:
    """Train the decoder on, alone: latents stay what they are, pictures become sharper.

    The diffusion model needs the latents only, so it can be trained meanwhile. The channel's
    noise stays, so that small errors of a diffusion model are small errors of the picture.

    Args:
        vae: its decoder is trained in place; the encoder is not touched.
        pictures: what to decode to.
        latents: the mean latents of ``pictures``, unscaled, ``(n, 4, 16, 16)``.
        steps: optimizer steps.
        batch_size: pictures per step.
        seed: fixes batches and noise.
        on_progress: called after each step.
    """
    generator = torch.Generator().manual_seed(seed)
    modules = nn.ModuleList([vae.post_quant_conv, vae.decoder]).train().requires_grad_(True)
    optimizer = torch.optim.AdamW(modules.parameters(), lr=1e-3, betas=(0.9, 0.99))
    schedule = OneCycleLR(optimizer, max_lr=1e-3, total_steps=steps, pct_start=0.1)
    for step, rows in enumerate(batch_rows(len(pictures), batch_size, range(steps), seed + 1)):
        images = pictures.images(rows)
        with autocast("auto", torch.device("cpu")):
            noise = torch.randn(latents[rows].shape, generator=generator)
            decoded = vae.decode(latents[rows] + _CHANNEL_NOISE * noise).sample.float()
        loss = F.mse_loss(decoded, images)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(modules.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        on_progress(step + 1, {"loss": loss.item()})
    modules.eval().requires_grad_(False)


@torch.no_grad()
def encode(vae: AutoencoderKL, pictures: PictureSet, rows: slice) -> Tensor:
    """Mean latents of the given rows, unscaled, shape ``(rows, 4, 16, 16)``."""
    chunks = pictures.images(rows).split(128)
    return torch.cat([vae.encode(chunk).latent_dist.mean.float() for chunk in chunks])


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, images: Tensor) -> Tensor:
    """Encode and decode pictures ``(batch, 3, 64, 64)`` in [-1, 1]."""
    chunks = images.split(64)
    decoded = [vae.decode(vae.encode(chunk).latent_dist.mean).sample for chunk in chunks]
    return torch.cat(decoded).clamp(-1, 1)
