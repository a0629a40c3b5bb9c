"""Tiny decoders: their sizes, what they are made of, and that pipelines take them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from teachers import build_teacher, latents

from distillation.decoder_architecture import DecoderArchitecture, DecoderError
from distillation.decoder_parts import decoder_parts, latent_size, parameters
from distillation.decoder_training import DecoderTraining, decoder_parameters, train_decoder
from distillation.decoders import autoencoder_config, decoder_of
from distillation.efficient_autoencoder import EfficientAutoencoderKL
from distillation.inheritance import inherit
from distillation.pairs import Pairs, decode
from distillation.tiny_architecture import TinyDecoderArchitecture, decoder_of_sizes
from evaluators.pipelines import load_pipeline
from experiments.models import pipeline_source

BASE = autoencoder_config(build_teacher())
TINY = TinyDecoderArchitecture(BASE, 6, (2, 1, 1))


@pytest.fixture(scope="module")
def teacher() -> AutoencoderKL:
    return build_teacher()


def test_by_default_it_is_as_large_as_taesd_s() -> None:
    sd15 = autoencoder_config(
        {
            "block_out_channels": [128, 256, 512, 512],
            "layers_per_block": 2,
            "sample_size": 512,
            "up_block_types": ["UpDecoderBlock2D"] * 4,
            "norm_num_groups": 32,
        }
    )
    tiny = TinyDecoderArchitecture.like_taesd(sd15)
    assert (tiny.width, tiny.blocks) == (64, (3, 3, 3, 1))
    assert parameters(tiny) == 1_222_531  # of TAESD's decoder as it was published
    assert latent_size(tiny) == (64, 64)


def test_sizes_give_back_the_same_value() -> None:
    assert decoder_of_sizes(BASE, TINY.sizes) == TINY
    assert decoder_of_sizes(BASE, {}) == DecoderArchitecture.full(BASE)
    others = [TinyDecoderArchitecture(BASE, 7, (2, 1, 1)), DecoderArchitecture.full(BASE)]
    assert TINY.id not in [each.id for each in others]
    assert str(TINY) == "tiny, 6 channels, blocks 2-1-1"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0}, "width is 0; give 1 to 1024"),
        ({"blocks": [1, 1]}, r"blocks are \[1, 1\]; give 3, one for every stage"),
        ({"blocks": [1, 0, 1]}, "stage 1 has 0 blocks"),
        ({"width": 2.5}, "give whole numbers"),
        ({"blocks": [1, 1, True]}, "give whole numbers"),
        ({"kind": "large"}, "a decoder of a kind is"),
        ({"depth": 3}, "a decoder of a kind is"),
    ],
)
def test_impossible_sizes_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DecoderError, match=message):
        decoder_of_sizes(BASE, {**TINY.sizes, **changes})


def test_it_decodes_to_the_teacher_s_size_and_keeps_its_encoder(teacher: AutoencoderKL) -> None:
    student = inherit(teacher, TINY)
    with torch.no_grad():
        assert student.decode(latents()).sample.shape == teacher.decode(latents()).sample.shape
        images = torch.rand(1, 3, 32, 32) * 2 - 1
        means = [vae.encode(images).latent_dist.mean for vae in (student, teacher)]
    assert torch.equal(*means)
    again = inherit(teacher, TINY).state_dict()
    assert all(torch.equal(weight, again[name]) for name, weight in student.state_dict().items())


def test_latents_of_any_scale_are_squashed_alike() -> None:
    """A UNet's latents are as large for every autoencoder, what they are decoded from is not."""
    drawn = 3 * latents()
    pictures = []
    for scaling_factor in (0.5, 0.18215):
        vae = build_teacher(scaling_factor=scaling_factor)
        tiny = TinyDecoderArchitecture(autoencoder_config(vae), 6, (2, 1, 1))
        with torch.no_grad():
            pictures.append(decode(inherit(vae, tiny), drawn))
    torch.testing.assert_close(*pictures)


def test_saved_and_loaded_it_is_the_same(teacher: AutoencoderKL, tmp_path: Path) -> None:
    student = inherit(teacher, TINY)
    student.save_pretrained(tmp_path)
    loaded = EfficientAutoencoderKL.from_pretrained(tmp_path)
    assert decoder_of(loaded) == TINY
    with torch.no_grad():
        assert torch.equal(loaded.decode(latents()).sample, student.decode(latents()).sample)


def test_a_pipeline_draws_with_it_and_is_stored_with_it(tmp_path: Path) -> None:
    pipeline = load_pipeline(pipeline_source("shapes"))
    size = pipeline.vae_scale_factor
    base = autoencoder_config(pipeline.vae)
    pipeline.register_modules(
        vae=inherit(pipeline.vae, TinyDecoderArchitecture.like_taesd(base, 8))
    )
    pipeline.save_pretrained(tmp_path)
    loaded = StableDiffusionPipeline.from_pretrained(tmp_path)
    assert isinstance(loaded.vae, EfficientAutoencoderKL)
    assert loaded.vae_scale_factor == size
    pictures = []
    for drawing in (pipeline, loaded):
        drawing.set_progress_bar_config(disable=True)
        generator = torch.Generator().manual_seed(0)
        arguments = {"num_inference_steps": 1, "generator": generator, "output_type": "pt"}
        pictures.append(drawing("a small red circle on a white background", **arguments).images)
    assert torch.equal(*pictures)
    assert pictures[0].shape[2:] == (base.values["sample_size"],) * 2


def test_parts_are_all_of_its_weights_and_work(teacher: AutoencoderKL) -> None:
    student = inherit(teacher, TINY)
    assert parameters(TINY) == sum(each.numel() for each in decoder_parameters(student).values())
    parts = decoder_parts(TINY, 2, 8, 8)
    assert [(part.stage, part.signature.kind, part.signature.height) for part in parts] == [
        ("", "conv_in", 8),
        ("up.0", "tiny_block", 8),
        ("up.0", "tiny_block", 8),
        ("up.0", "upsample", 8),
        ("up.1", "tiny_block", 16),
        ("up.1", "upsample", 16),
        ("up.2", "tiny_block", 32),
        ("", "conv_out", 32),
    ]
    macs = [part.macs for part in parts]
    rows = 2 * 9 * 6  # of two pictures, by 3x3 convolutions to 6 channels
    assert macs[0] == rows * 4 * 64
    assert macs[1] == macs[2] == 3 * rows * 6 * 64
    assert macs[3] == rows * 6 * 256
    assert macs[7] == 2 * 9 * 6 * 3 * 1024


@pytest.mark.parametrize("checkpointing", [False, True])
def test_it_learns_its_teacher_s_pictures(teacher: AutoencoderKL, checkpointing: bool) -> None:
    student = inherit(teacher, TINY)
    drawn = latents(4) * teacher.config.scaling_factor
    with torch.no_grad():
        pairs = Pairs(drawn, decode(teacher, drawn))
    losses: list[float] = []
    settings = DecoderTraining(
        steps=30,
        batch_size=4,
        learning_rate=5e-3,
        warmup_steps=2,
        precision="fp32",
        gradient_checkpointing=checkpointing,
    )
    train_decoder(
        student,
        lambda step, rows: pairs[rows.start : rows.stop],
        settings,
        0,
        on_progress=lambda _, figures: losses.append(figures["loss"]),
    )
    assert losses[-1] < 0.5 * losses[0]
