"""Pictures and captions as the UNet of a pipeline wants them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from PIL import Image
from tiny_pipelines import LATENTS, PICTURE, POOLED, build_sd, build_xl
from torch.testing import assert_close

from experiments.data.encoder import PipelineEncoder, added_cond_kwargs
from experiments.shapes.tokenizer import CONTEXT_LENGTH

RED, BLUE = "a small red circle", "a large blue star"


def test_latents_are_those_of_the_middle_of_the_picture(sd: Any) -> None:
    wide = Image.new("RGB", (6 * PICTURE, 2 * PICTURE), "black")
    wide.paste("white", (PICTURE, 0, 5 * PICTURE, 2 * PICTURE))
    encoder = PipelineEncoder(sd)
    latents = encoder.latents([wide, Image.new("RGB", (PICTURE, PICTURE), "black")])
    assert latents.shape == (2, 4, LATENTS, LATENTS)
    with torch.no_grad():
        pixels = torch.ones(2, 3, PICTURE, PICTURE)
        pixels[1] = -1
        expected = sd.vae.encode(pixels).latent_dist.mean * sd.vae.config.scaling_factor
    assert_close(latents, expected)


def test_many_pictures_are_encoded_as_few_are(sd: Any) -> None:
    encoder = PipelineEncoder(sd)
    pictures = [Image.new("RGB", (8, 8), (10 * i,) * 3) for i in range(19)]
    assert_close(encoder.latents(pictures)[17:], encoder.latents(pictures[17:]))


def test_captions_become_what_the_pipeline_itself_makes_of_them(sd: Any, xl: Any) -> None:
    own = PipelineEncoder(sd).conditioning([RED, "", RED])
    expected, empty = sd.encode_prompt([RED], "cpu", 1, True)
    assert own.encoder_hidden_states.shape == (3, CONTEXT_LENGTH, 16)
    assert own.text_embeds is None
    assert_close(own.encoder_hidden_states, torch.cat([expected, empty, expected]))

    own = PipelineEncoder(xl).conditioning([BLUE, RED])
    states, _, pooled, _ = xl.encode_prompt([BLUE, RED], device="cpu")
    assert states.shape == (2, CONTEXT_LENGTH, 32)
    assert pooled.shape == (2, POOLED)
    assert_close(own.encoder_hidden_states, states)
    assert_close(own.text_embeds, pooled)


def test_sdxl_s_empty_caption_is_zeros_or_encoded_as_its_configuration_says(xl: Any) -> None:
    zeros = PipelineEncoder(xl).conditioning([""])
    assert not zeros.encoder_hidden_states.any()
    assert zeros.text_embeds is not None
    assert not zeros.text_embeds.any()
    other = build_xl(zeros=False)
    encoded = PipelineEncoder(other).conditioning(["", RED])
    states, _, pooled, _ = other.encode_prompt(["", RED], device="cpu")
    assert states[0].any()
    assert_close(encoded.encoder_hidden_states, states)
    assert_close(encoded.text_embeds, pooled)


def test_sdxl_is_told_original_size_crop_and_size(xl: Any) -> None:
    time_ids = PipelineEncoder(xl).time_ids([(600, 800), (8, 8)])
    assert time_ids.tolist() == [[600, 800, 0, 0, 8, 8], [8, 8, 0, 0, 8, 8]]


def test_a_unet_takes_what_was_encoded(sd: Any, xl: Any) -> None:
    pictures = [Image.new("RGB", (9, 30), "red")] * 2
    for pipeline in (sd, xl):
        encoder = PipelineEncoder(pipeline)
        latents, text = encoder.latents(pictures), encoder.conditioning([RED, ""])
        time_ids = encoder.time_ids([(30, 9)] * 2) if encoder.is_xl else None
        predicted = pipeline.unet(
            latents,
            torch.tensor([3, 500]),
            text.encoder_hidden_states,
            added_cond_kwargs=added_cond_kwargs(text.text_embeds, time_ids),
        ).sample
        assert predicted.shape == latents.shape


def test_a_training_s_autocast_changes_nothing(sd: Any) -> None:
    encoder, pictures = PipelineEncoder(sd), [Image.new("RGB", (8, 8), "red")]
    latents, text = encoder.latents(pictures), encoder.conditioning([RED])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(encoder.latents(pictures), latents)
        again = encoder.conditioning([RED])
    assert torch.equal(again.encoder_hidden_states, text.encoder_hidden_states)


def test_a_digest_tells_what_encodes(sd: Any, xl: Any) -> None:
    digest = PipelineEncoder(sd).digest
    assert PipelineEncoder(build_sd()).digest == digest
    trained = build_sd()
    torch.nn.init.zeros_(trained.unet.conv_in.weight)
    torch.nn.init.zeros_(trained.vae.decoder.conv_in.weight)
    assert PipelineEncoder(trained).digest == digest

    others = [build_sd() for _ in range(4)]
    torch.nn.init.zeros_(others[0].vae.encoder.conv_in.weight)
    torch.nn.init.zeros_(others[1].text_encoder.final_layer_norm.weight)
    others[2].vae.register_to_config(scaling_factor=0.3)
    others[3].unet.register_to_config(sample_size=8)
    digests = {PipelineEncoder(other).digest for other in (*others, xl, build_xl(zeros=False))}
    assert len(digests | {digest}) == 7


@pytest.mark.parametrize("size", [(4, 6), [4, 6]])
def test_pictures_may_be_oblong(size: Any) -> None:
    encoder = PipelineEncoder(build_sd(sample_size=size))
    assert encoder.picture_size == (8, 12)
    assert encoder.latents([Image.new("RGB", (50, 20))]).shape == (1, 4, 4, 6)
