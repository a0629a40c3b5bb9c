"""Pictures are a function of architecture, prompt, row, noise seed and settings; nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from diffusers import EulerAncestralDiscreteScheduler, StableDiffusionPipeline
from pydantic import ValidationError
from small_models import PROMPTS, SAMPLING
from torch import Tensor, nn

from evaluators import generation
from evaluators.generation import (
    SamplingChoice,
    SamplingSettings,
    convert,
    encode_prompts,
    generate,
)
from evaluators.pipelines import load_pipeline
from evaluators.prompts import PromptSet

LATENTS = (4, 8, 8)


@pytest.fixture(scope="module")
def pipeline(pipeline_folder: str) -> StableDiffusionPipeline:
    return load_pipeline(pipeline_folder)


@pytest.fixture(scope="module")
def pictures(pipeline: StableDiffusionPipeline) -> Tensor:
    return drawn(pipeline)


def drawn(
    pipeline: StableDiffusionPipeline,
    prompts: PromptSet = PROMPTS,
    rows: range | None = None,
    **settings: object,
) -> Tensor:
    sampling = SAMPLING.model_copy(update=settings)
    convert(pipeline, sampling)
    return generate(pipeline, prompts, encode_prompts(pipeline, prompts), sampling, rows)


def plain_call(
    pipeline: StableDiffusionPipeline, prompts: PromptSet, guidance_scale: float
) -> Tensor:
    """What diffusers' own call draws from the same latents."""
    images: Tensor = pipeline(
        list(prompts.prompts),
        latents=prompts.noise(range(len(prompts)), LATENTS),
        num_inference_steps=SAMPLING.num_inference_steps,
        guidance_scale=guidance_scale,
        output_type="pt",
    ).images
    return images


def test_pictures_are_what_the_docstring_says(pictures: Tensor) -> None:
    assert pictures.shape == (len(PROMPTS), 3, 16, 16)
    assert pictures.dtype == torch.float32
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    assert pictures.std(dim=(1, 2, 3)).min() > 0.01  # none of them is flat


def test_the_same_call_draws_the_same_bits(
    pipeline: StableDiffusionPipeline, pictures: Tensor
) -> None:
    torch.manual_seed(123)  # no global random state takes part
    assert torch.equal(drawn(pipeline), pictures)


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0, 7.5])
def test_equals_a_plain_call_of_the_stock_pipeline(
    pipeline: StableDiffusionPipeline, guidance_scale: float
) -> None:
    ours = drawn(pipeline, guidance_scale=guidance_scale)
    assert torch.equal(ours, plain_call(pipeline, PROMPTS, guidance_scale))


def test_many_prompts_are_encoded_as_each_of_them_is(pipeline: StableDiffusionPipeline) -> None:
    prompts = PromptSet(tuple(f"a red ring above {number} stars" for number in range(20)), seed=0)
    together = encode_prompts(pipeline, prompts)
    for row in (0, 15, 16, 19):
        embeds, empty = pipeline.encode_prompt(prompts.prompts[row], pipeline.device, 1, True)
        given = together.arguments(range(row, row + 1))
        torch.testing.assert_close(given["prompt_embeds"], embeds, atol=1e-5, rtol=0)
        torch.testing.assert_close(given["negative_prompt_embeds"], empty, atol=1e-5, rtol=0)
        assert torch.equal(given["latents"], prompts.noise(range(row, row + 1), LATENTS))


def test_guidance_matters(pipeline: StableDiffusionPipeline, pictures: Tensor) -> None:
    assert (drawn(pipeline, guidance_scale=1.0) - pictures).abs().max() > 1e-3


@pytest.mark.parametrize("rows", [range(1, 3), range(3, 4), range(0, 4, 2)], ids=str)
def test_some_rows_are_those_rows_of_all(
    pipeline: StableDiffusionPipeline, pictures: Tensor, rows: range
) -> None:
    some = drawn(pipeline, rows=rows)
    torch.testing.assert_close(some, pictures[list(rows)], atol=1e-5, rtol=0)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_batch_size_changes_no_more_than_rounding(
    pipeline: StableDiffusionPipeline, pictures: Tensor, batch_size: int
) -> None:
    torch.testing.assert_close(drawn(pipeline, batch_size=batch_size), pictures, atol=1e-5, rtol=0)


def test_a_picture_does_not_depend_on_other_prompts(
    pipeline: StableDiffusionPipeline, pictures: Tensor
) -> None:
    first, _, third, _ = PROMPTS.prompts
    others = PromptSet((first, "a large red ring on a gray background", third), PROMPTS.seed)
    changed = drawn(pipeline, others)
    torch.testing.assert_close(changed[[0, 2]], pictures[[0, 2]], atol=1e-5, rtol=0)
    assert (changed[1] - pictures[1]).abs().max() > 1e-3


def test_a_picture_depends_on_its_row_and_on_the_seed(
    pipeline: StableDiffusionPipeline, pictures: Tensor
) -> None:
    twice = drawn(pipeline, PromptSet((PROMPTS.prompts[0],) * 2, PROMPTS.seed))
    assert (twice[0] - twice[1]).abs().max() > 1e-3
    other_seed = drawn(pipeline, replace(PROMPTS, seed=PROMPTS.seed + 1))
    assert (other_seed - pictures).abs().amax(dim=(1, 2, 3)).min() > 1e-3


def test_noise_added_at_every_step_belongs_to_the_prompt_too(pipeline_folder: str) -> None:
    pipeline = load_pipeline(pipeline_folder)
    sampler = EulerAncestralDiscreteScheduler.from_config(pipeline.scheduler.config)
    pipeline.scheduler = sampler
    pictures = drawn(pipeline)
    torch.manual_seed(123)
    assert torch.equal(drawn(pipeline), pictures)
    torch.testing.assert_close(drawn(pipeline, rows=range(2, 3)), pictures[2:3], atol=1e-5, rtol=0)
    other_seed = drawn(pipeline, replace(PROMPTS, seed=PROMPTS.seed + 1))
    assert (other_seed - pictures).abs().amax(dim=(1, 2, 3)).min() > 1e-3


def test_bf16_is_close_and_answers_in_fp32(pipeline_folder: str, pictures: Tensor) -> None:
    rounded = drawn(load_pipeline(pipeline_folder), precision="bf16")
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - pictures).abs().mean() < 0.02


def test_bf16_differs_from_stock_under_autocast_by_the_rounded_norms_alone(
    pipeline_folder: str,
) -> None:
    """Autocast rounds all other weights at every use to what they are rounded to here."""
    pipeline = load_pipeline(pipeline_folder)
    for part in (pipeline.unet, pipeline.vae):
        for module in part.modules():
            if isinstance(module, (nn.GroupNorm, nn.LayerNorm)):
                module.weight.copy_(module.weight.bfloat16())
                module.bias.copy_(module.bias.bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        stock = plain_call(pipeline, PROMPTS, SAMPLING.guidance_scale)
    torch.testing.assert_close(drawn(pipeline, precision="bf16"), stock.float(), atol=0.02, rtol=0)


def test_the_memory_format_changes_no_more_than_rounding(
    pipeline_folder: str, pictures: Tensor
) -> None:
    pipeline = load_pipeline(pipeline_folder)
    ours = drawn(pipeline, memory_format="channels_last")
    assert pipeline.unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    assert pipeline.vae.decoder.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(ours, pictures, atol=1e-5, rtol=0)


def test_a_pipeline_in_another_precision_is_not_drawn_with(
    pipeline: StableDiffusionPipeline,
) -> None:
    bf16 = SAMPLING.model_copy(update={"precision": "bf16"})
    with pytest.raises(ValueError, match=r"float32, not bf16: convert\(\) comes before"):
        generate(pipeline, PROMPTS, encode_prompts(pipeline, PROMPTS), bf16)


@pytest.mark.parametrize(
    "values",
    [
        {"num_inference_steps": 0},
        {"guidance_scale": 0.5},
        {"batch_size": 0},
        {"precision": "fp8"},
        {"memory_format": "channels_first"},
        {"steps": 50},
    ],
    ids=str,
)
def test_impossible_settings_are_refused(values: dict[str, object]) -> None:
    (field,) = values
    for model in (SamplingSettings, SamplingChoice):
        with pytest.raises(ValidationError, match=field):
            model.model_validate(values)


@pytest.mark.parametrize("field", ["precision", "batch_size", "memory_format"])
def test_only_a_choice_leaves_something_open(field: str) -> None:
    choice = SamplingChoice.model_validate({"num_inference_steps": 7, field: "auto"})
    assert choice.left_open == (field,)
    start = choice.start()
    assert start.left_open == ()
    assert start.num_inference_steps == 7
    with pytest.raises(ValidationError, match=field):
        SamplingSettings.model_validate({field: "auto"})


@pytest.mark.parametrize("own", ["fp32", "bf16"])
def test_an_open_precision_is_the_device_s_own(monkeypatch: pytest.MonkeyPatch, own: str) -> None:
    asked: list[tuple[str, str]] = []

    def settled(precision: str, device: str) -> str:
        asked.append((precision, device))
        return own

    monkeypatch.setattr(generation, "settled_precision", settled)
    assert SamplingChoice(precision="auto").start("cuda") == SamplingSettings(
        precision=own, batch_size=32
    )
    assert asked == [("auto", "cuda")]


@pytest.mark.parametrize("value", [0, 2.0, True, "many"])
def test_a_batch_size_is_refused_in_one_line(value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        SamplingChoice.model_validate({"batch_size": value})
    [problem] = caught.value.errors()
    assert problem["loc"] == ("batch_size",)
    assert problem["msg"] == 'Value error, give a whole number of 1 or more, or "auto"'
