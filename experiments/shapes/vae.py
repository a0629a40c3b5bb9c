"""The shapes world's autoencoder: 64x64 pictures to 16x16 latents of 4 channels."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import OneCycleLR

from experiments.progress import OnProgress
from experiments.shapes.dataset import PictureSet, batch_rows
from experiments.shapes.render import IMAGE_SIZE

_KL_WEIGHT = 1e-5


def build_vae() -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
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
    """Train on reconstruction (L1 + MSE) with a small KL term, then set the scaling factor.

    The scaling factor makes latents of unit standard deviation, as Stable Diffusion's does.
    """
    torch.manual_seed(seed)
    vae = build_vae()
    optimizer = torch.optim.AdamW(vae.parameters(), lr=2e-3, betas=(0.9, 0.99))
    schedule = OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps, pct_start=0.1)
    for step, rows in enumerate(batch_rows(len(pictures), batch_size, range(steps), seed)):
        images = pictures.images(rows)
        with torch.autocast("cpu", torch.bfloat16):
            posterior = vae.encode(images).latent_dist
            decoded = vae.decode(posterior.sample()).sample.float()
        loss = F.l1_loss(decoded, images) + F.mse_loss(decoded, images)
        kl = posterior.kl().mean() / posterior.mean[0].numel()
        optimizer.zero_grad(set_to_none=True)
        (loss + _KL_WEIGHT * kl).backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        on_progress(step + 1, {"loss": loss.item(), "kl": kl.item()})
    vae.eval().requires_grad_(False)
    scale = 1.0 / encode(vae, pictures, slice(0, 1024)).std().item()
    vae.register_to_config(scaling_factor=round(scale, 5))
    return vae


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

    The diffusion model needs the latents only, so it can be trained meanwhile.

    Args:
        vae: its decoder is trained in place; the encoder is not touched.
        pictures: what to decode to.
        latents: the mean latents of ``pictures``, unscaled, ``(n, 4, 16, 16)``.
        steps: optimizer steps.
        batch_size: pictures per step.
        seed: fixes the batches.
        on_progress: called after each step.
    """
    modules = nn.ModuleList([vae.post_quant_conv, vae.decoder]).train().requires_grad_(True)
    optimizer = torch.optim.AdamW(modules.parameters(), lr=1e-3, betas=(0.9, 0.99))
    schedule = OneCycleLR(optimizer, max_lr=1e-3, total_steps=steps, pct_start=0.1)
    for step, rows in enumerate(batch_rows(len(pictures), batch_size, range(steps), seed + 1)):
        images = pictures.images(rows)
        with torch.autocast("cpu", torch.bfloat16):
            decoded = vae.decode(latents[rows]).sample.float()
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
