"""The autoencoder of the world: latents that a diffusion model with an isotropic loss can learn."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import AutoencoderKL
from torch import nn

from experiments.shapes.dataset import PictureSet, draw
from experiments.shapes.vae import (
    _CHANNEL_NOISE,
    _correlation,
    _fold,
    build_vae,
    encode,
    reconstruct,
    train_decoder,
    train_vae,
)


@pytest.fixture(scope="module")
def pictures() -> PictureSet:
    return draw("train", 1024, seed=0)


@pytest.fixture(scope="module")
def trained(pictures: PictureSet) -> AutoencoderKL:
    return train_vae(pictures, steps=60, batch_size=8, seed=0, on_progress=lambda *_: None)


def test_latents_have_unit_power_in_every_channel(
    trained: AutoencoderKL, pictures: PictureSet
) -> None:
    latents = encode(trained, pictures, slice(0, 256)) * trained.config.scaling_factor
    assert latents.std().item() == pytest.approx(1.0, abs=0.15)
    assert latents.std(dim=(0, 2, 3)).min() > 0.5


def test_training_makes_pictures_come_back(trained: AutoencoderKL, pictures: PictureSet) -> None:
    images = pictures.images(slice(0, 32))
    torch.manual_seed(0)
    untrained = (reconstruct(build_vae().eval(), images) - images).square().mean()
    assert (reconstruct(trained, images) - images).square().mean() < 0.5 * untrained


def test_sampled_latents_carry_the_noise_that_the_decoder_was_trained_with(
    trained: AutoencoderKL, pictures: PictureSet
) -> None:
    with torch.no_grad():
        posterior = trained.encode(pictures.images(slice(0, 2))).latent_dist
    assert torch.allclose(posterior.std, torch.full_like(posterior.std, _CHANNEL_NOISE))


def test_folding_is_the_standardisation(pictures: PictureSet) -> None:
    torch.manual_seed(0)
    vae = build_vae().eval()
    images = pictures.images(slice(0, 16))
    standardise = nn.BatchNorm2d(4, eps=1e-6, affine=False, momentum=None)
    with torch.no_grad():
        raw = vae.encode(images).latent_dist.mean
        standardise.train()(raw)
        expected = standardise.eval()(raw)
        _fold(standardise, vae)
        folded = vae.encode(images).latent_dist.mean
    assert torch.allclose(folded, expected, atol=1e-4)


def test_correlation_is_that_of_numpy_corrcoef() -> None:
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randn(1000, 4, generator=generator) @ torch.randn(4, 4, generator=generator)
    standardised = (mixed - mixed.mean(0)) / mixed.std(0, correction=0)
    channels_first = standardised.T.reshape(1, 4, 20, 50)
    corrcoef = torch.corrcoef(mixed.T)
    expected = (corrcoef.square().sum() - 4) / 12
    assert _correlation(channels_first).item() == pytest.approx(expected.item(), rel=1e-4)
    assert math.isclose(_correlation(torch.eye(4).view(1, 4, 2, 2) * 2).item(), 0.0)


def test_the_decoder_stage_leaves_latents_alone(
    trained: AutoencoderKL, pictures: PictureSet
) -> None:
    latents = encode(trained, pictures, slice(0, 64))
    before = trained.decoder.conv_out.weight.clone()
    train_decoder(
        trained,
        pictures,
        encode(trained, pictures, slice(None)),
        steps=2,
        batch_size=4,
        seed=0,
        on_progress=lambda *_: None,
    )
    assert torch.equal(encode(trained, pictures, slice(0, 64)), latents)
    assert not torch.equal(trained.decoder.conv_out.weight, before)
