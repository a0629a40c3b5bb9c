"""Smaller decoders: what they inherit, how they are stored, and that pipelines take them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, DiffusionPipeline, StableDiffusionPipeline
from teachers import build_teacher, latents
from torch import nn

from distillation.decoder_architecture import DecoderArchitecture, DecoderError
from distillation.decoder_parts import decoder_parts, latent_size, parameters
from distillation.decoders import autoencoder_config, decoder_of
from distillation.efficient_autoencoder import EfficientAutoencoderKL
from distillation.inheritance import Space, inherit
from evaluators.pipelines import load_pipeline
from experiments.models import pipeline_source


@pytest.fixture(scope="module")
def teacher() -> AutoencoderKL:
    return build_teacher()


def full(teacher: AutoencoderKL) -> DecoderArchitecture:
    return DecoderArchitecture.full(autoencoder_config(teacher))


def small(teacher: AutoencoderKL) -> DecoderArchitecture:
    return full(teacher).narrowed(0.5).shortened(1, 1)


@torch.no_grad()
def picture(vae: AutoencoderKL, seed: int = 0) -> torch.Tensor:
    return vae.decode(latents(seed=seed)).sample


def test_at_ratio_1_it_is_the_teacher_bit_for_bit(teacher: AutoencoderKL) -> None:
    student = inherit(teacher, full(teacher))
    assert torch.equal(picture(student), picture(teacher))
    own, theirs = student.state_dict(), teacher.state_dict()
    assert own.keys() == theirs.keys()
    assert all(torch.equal(own[name], theirs[name]) for name in own)


def test_the_encoder_stays_the_teacher_s(teacher: AutoencoderKL) -> None:
    student = inherit(teacher, small(teacher))
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        mean = student.encode(images).latent_dist.mean
        assert torch.equal(mean, teacher.encode(images).latent_dist.mean)


def test_channels_that_the_teacher_does_not_use_are_those_that_go(teacher: AutoencoderKL) -> None:
    """Every other channel of the teacher is neither written nor read; none of these is kept."""
    vae = build_teacher(norm_num_groups=4, block_out_channels=(8, 8, 8), layers_per_block=0)
    for name, module in vae.decoder.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            if name != "conv_out":
                module.weight[1::2] = 0
                module.bias[1::2] = 0
            if name != "conv_in":
                module.weight[:, 1::2] = 0
        if isinstance(module, nn.GroupNorm):
            module.weight[1::2] = 0
            module.bias[1::2] = 0
    student = inherit(vae, full(vae).narrowed(0.5))
    kept, taught = student.decoder.state_dict(), vae.decoder.state_dict()
    for name, weight in kept.items():
        rows = slice(None) if name.startswith("conv_out") else slice(0, None, 2)
        if weight.ndim == 1 and name.startswith("conv_norm_out"):
            rows = slice(0, None, 2)
        expected = taught[name][rows]
        if weight.ndim > 1 and name != "conv_in.weight":
            expected = expected[:, ::2]
        assert torch.equal(weight, expected), name


def test_each_group_keeps_its_best_channels() -> None:
    space = Space(groups=2)
    space.add(torch.tensor([1.0, 9, 3, 2, 7, 8]))
    assert space.kept(4).tolist() == [1, 2, 4, 5]
    space.add(torch.tensor([100.0, 0, 0, 0, 0, 0]))
    assert space.kept(2).tolist() == [0, 5]


def test_stages_may_become_unequal_or_equal(teacher: AutoencoderKL) -> None:
    """A shortcut is added where the base has none, and kept where widths meet by narrowing."""
    config = full(teacher)
    unequal = inherit(teacher, config.narrowed((1, 0.5, 1)))  # 16, 8, 8 of 16, 16, 8
    first = unequal.decoder.up_blocks[1].resnets[0]
    assert first.conv_shortcut is not None
    assert first.conv_shortcut.weight.sum(1).flatten().tolist() == [1.0] * 8
    assert first.conv_shortcut.bias.abs().sum() == 0
    last = unequal.decoder.up_blocks[2].resnets[0]
    assert last.in_channels == last.out_channels == 8
    assert last.conv_shortcut is not None
    assert picture(unequal).isfinite().all()


def test_without_attention_the_layout_changes_and_the_picture_does_not(
    teacher: AutoencoderKL,
) -> None:
    student = inherit(teacher, small(teacher).without_attention())
    assert student.decoder.mid_block.attentions[0] is None
    with torch.no_grad():
        expected = student.decoder(student.post_quant_conv(latents()))
    torch.testing.assert_close(picture(student), expected)
    assert picture(student).is_contiguous(memory_format=torch.channels_last)


def test_saved_and_loaded_it_is_the_same(teacher: AutoencoderKL, tmp_path: Path) -> None:
    student = inherit(teacher, full(teacher).narrowed((1, 0.5, 1)).shortened(1, 0))
    student.save_pretrained(tmp_path)
    loaded = EfficientAutoencoderKL.from_pretrained(tmp_path)
    assert decoder_of(loaded) == decoder_of(student)
    assert torch.equal(picture(loaded), picture(student))


def test_a_pipeline_draws_with_it_and_is_stored_with_it(tmp_path: Path) -> None:
    pipeline = load_pipeline(pipeline_source("shapes"))
    architecture = full(pipeline.vae).narrowed(0.5)
    pipeline.vae = inherit(pipeline.vae, architecture)
    pipeline.set_progress_bar_config(disable=True)

    def draw(drawing: DiffusionPipeline) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        arguments = {"num_inference_steps": 2, "generator": generator, "output_type": "pt"}
        return drawing("a small red circle on a white background", **arguments).images

    pipeline.save_pretrained(tmp_path)
    loaded = StableDiffusionPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert isinstance(loaded.vae, EfficientAutoencoderKL)
    assert decoder_of(loaded.vae) == architecture
    assert torch.equal(draw(loaded), draw(pipeline))


def test_another_base_is_refused(teacher: AutoencoderKL) -> None:
    other = build_teacher(scaling_factor=0.25)
    with pytest.raises(DecoderError, match="another base"):
        inherit(other, full(teacher))
    with pytest.raises(DecoderError, match="another base"):
        inherit(inherit(teacher, full(teacher)), full(teacher))


def test_parts_add_up_to_the_decoder(teacher: AutoencoderKL) -> None:
    for architecture in (full(teacher), small(teacher), full(teacher).narrowed((1, 0.5, 1))):
        student = inherit(teacher, architecture)
        modules = (student.post_quant_conv, student.decoder)
        assert parameters(architecture) == sum(w.numel() for m in modules for w in m.parameters())


def test_mac_counts_are_those_of_the_formulas() -> None:
    """Of SD v1.5's convolutions at their sizes, worked out by hand."""
    vae = {
        "block_out_channels": [128, 256, 512, 512],
        "layers_per_block": 2,
        "sample_size": 512,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "norm_num_groups": 32,
    }
    architecture = DecoderArchitecture.full(autoencoder_config(vae))
    assert latent_size(architecture) == (64, 64)
    parts = {part.name: part for part in decoder_parts(architecture, 1, 64, 64)}
    assert parts["decoder.conv_in"].macs == 9 * 4 * 512 * 64 * 64
    assert parts["decoder.up_blocks.3.resnets.1"].macs == 2 * 9 * 128 * 128 * 512 * 512
    first = parts["decoder.up_blocks.3.resnets.0"]
    assert first.macs == (9 * 256 * 128 + 9 * 128 * 128 + 256 * 128) * 512 * 512
    assert parts["decoder.up_blocks.0.upsamplers.0"].macs == 9 * 512 * 512 * 128 * 128
    attention = parts["decoder.mid_block.attentions.0"]
    tokens = 64 * 64
    assert attention.macs == 4 * tokens * 512 * 512 + 2 * tokens * tokens * 512
    assert parameters(architecture) == 49_490_199  # the paper's 50 M
    assert parts["decoder.conv_out"].signature.height == 512
