"""SDXL's kind of pipeline: drawn with, scored and timed as its own stock pipeline is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from small_models import PROMPTS, SAMPLING, make_spec, save_sdxl_pipeline
from torch import Tensor

from evaluators.evaluator import Evaluator
from evaluators.generation import convert, encode_prompts, generate
from evaluators.pipelines import load_pipeline
from evaluators.prompts import PromptSet
from evaluators.scorers import ClipModel
from evaluators.whole_unets import measure_latency, time_architectures
from latency_tables import TorchCpuProfiler
from supernet.supernet import Supernet

LATENTS = (4, 8, 8)


@pytest.fixture(scope="module")
def pipeline(sdxl_folder: str) -> StableDiffusionXLPipeline:
    return load_pipeline(sdxl_folder)


def drawn(
    pipeline: StableDiffusionXLPipeline, rows: range | None = None, **settings: object
) -> Tensor:
    sampling = SAMPLING.model_copy(update=settings)
    convert(pipeline, sampling)
    return generate(pipeline, PROMPTS, encode_prompts(pipeline, PROMPTS), sampling, rows)


def test_it_is_loaded_in_fp32_and_frozen(sdxl_folder: str, tmp_path: Path) -> None:
    load_pipeline(sdxl_folder).to(torch.float16).save_pretrained(tmp_path)
    pipeline = load_pipeline(str(tmp_path))
    assert type(pipeline) is StableDiffusionXLPipeline
    assert pipeline.watermark is None
    for module in (
        pipeline.unet,
        pipeline.vae,
        pipeline.text_encoder,
        pipeline.text_encoder_2,
    ):
        assert module.dtype == torch.float32
        assert not module.training
        assert not any(weight.requires_grad for weight in module.parameters())


@pytest.mark.parametrize("zeros", [True, False], ids=["zeros", "empty prompt"])
@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
def test_equals_a_plain_call_of_the_stock_pipeline(
    tmp_path: Path, zeros: bool, guidance_scale: float
) -> None:
    folder = save_sdxl_pipeline(tmp_path, force_zeros_for_empty_prompt=zeros)
    stock = StableDiffusionXLPipeline.from_pretrained(folder, add_watermarker=False)
    stock.set_progress_bar_config(disable=True)
    plain = stock(
        list(PROMPTS.prompts),
        latents=PROMPTS.noise(range(len(PROMPTS)), LATENTS),
        num_inference_steps=SAMPLING.num_inference_steps,
        guidance_scale=guidance_scale,
        output_type="pt",
    ).images
    ours = drawn(load_pipeline(folder), guidance_scale=guidance_scale)
    assert torch.equal(ours, plain)
    assert ours.std(dim=(1, 2, 3)).min() > 0.01  # none of them is flat


def test_the_empty_prompt_is_what_the_pipeline_says(tmp_path: Path) -> None:
    for zeros in (True, False):
        folder = save_sdxl_pipeline(tmp_path / str(zeros), force_zeros_for_empty_prompt=zeros)
        conditioning = encode_prompts(load_pipeline(folder), PROMPTS)
        assert conditioning.negative_prompt_embeds.any().item() is not zeros
        assert conditioning.negative_pooled_prompt_embeds.any().item() is not zeros


def test_the_pooled_prompt_and_the_size_matter(pipeline: StableDiffusionXLPipeline) -> None:
    seen: list[dict[str, Tensor]] = []
    hook = pipeline.unet.register_forward_pre_hook(
        lambda *call: seen.append(call[2]["added_cond_kwargs"]), with_kwargs=True
    )
    drawn(pipeline, num_inference_steps=1)
    hook.remove()
    [added] = seen
    assert added["time_ids"].tolist() == [[16, 16, 0, 0, 16, 16]] * 2 * len(PROMPTS)
    empty, own = added["text_embeds"].chunk(2)
    assert not empty.any()
    assert len(own.unique(dim=0)) == len(PROMPTS)


@pytest.mark.parametrize("rows", [range(1, 3), range(3, 4)], ids=str)
def test_some_rows_are_those_rows_of_all(pipeline: StableDiffusionXLPipeline, rows: range) -> None:
    expected = drawn(pipeline)[list(rows)]
    torch.testing.assert_close(drawn(pipeline, rows), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(drawn(pipeline, rows, batch_size=1), expected, atol=1e-5, rtol=0)


def test_bf16_is_close(pipeline: StableDiffusionXLPipeline, sdxl_folder: str) -> None:
    rounded = drawn(load_pipeline(sdxl_folder), precision="bf16")
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - drawn(pipeline)).abs().mean() < 0.02


def test_many_prompts_are_encoded_as_each_of_them_is(pipeline: StableDiffusionXLPipeline) -> None:
    sizes, colors = ("small", "large"), ("red", "green", "blue")
    shapes = ("circle", "square", "star", "ring")
    prompts = tuple(f"a {s} {c} {n}" for s in sizes for c in colors for n in shapes)
    together = encode_prompts(pipeline, PromptSet(prompts, seed=0))
    assert len(together.prompt_embeds) == len(together.pooled_prompt_embeds) == len(prompts)
    for row in (0, 15, 16, 23):
        alone = encode_prompts(pipeline, PromptSet(prompts[row : row + 1], seed=0))
        given = together.arguments(range(row, row + 1))
        texts = {name for name in given if name.endswith("embeds")}
        assert len(texts) == 4
        for name in texts:
            embeds = alone.arguments(range(1))[name]
            torch.testing.assert_close(given[name], embeds, atol=1e-5, rtol=0)


def test_every_block_of_it_is_scored(sdxl_folder: str, clip: ClipModel) -> None:
    evaluator = Evaluator(make_spec(sdxl_folder, clip))
    full = evaluator.supernet.full()
    scores = {full: evaluator.scores(full).first}
    for block in full:
        without = full.without([block])
        scores[without] = evaluator.scores(without).first
    assert len(set(scores.values())) == len(scores) == 1 + len(full.blocks)
    assert evaluator.scores(full).first == scores[full]


def test_whole_unets_of_it_are_timed(sdxl_folder: str) -> None:
    unet = load_pipeline(sdxl_folder).unet
    seen: list[dict[str, Tensor]] = []
    unet.register_forward_pre_hook(
        lambda *call: seen.append(call[2]["added_cond_kwargs"]), with_kwargs=True
    )
    bf16 = TorchCpuProfiler("bf16", threads=1)
    [median] = measure_latency([unet], bf16, context_length=5, batch=3, repetitions=1)
    assert 0 < median < 10_000
    assert seen[0]["text_embeds"].shape == (3, 12)
    assert seen[0]["time_ids"].shape == (3, 6)
    assert seen[0]["text_embeds"].dtype == torch.bfloat16

    supernet = Supernet(load_pipeline(sdxl_folder).unet)
    times = time_architectures(
        supernet,
        [supernet.full(), supernet.inventory.smallest()],
        TorchCpuProfiler(threads=1),
        batch=2,
        context_length=5,
        rounds=3,
    )
    assert [len(each) for each in times] == [3, 3]
    assert min(times[1]) < min(times[0])
