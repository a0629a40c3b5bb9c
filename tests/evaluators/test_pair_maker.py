"""Pairs: the pipeline's latents with its own decoder's pictures of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from small_models import PROMPTS, SAMPLING
from torch import Tensor

from distillation.decoder_architecture import DecoderArchitecture
from distillation.decoders import autoencoder_config
from distillation.inheritance import inherit
from evaluators.evaluator import EvaluatorSpec
from evaluators.generation import encode_prompts, generate
from evaluators.pair_maker import PairMaker, part_of
from evaluators.pipelines import load_pipeline

ROWS = range(1, 3)


def test_the_pictures_are_the_pipeline_s(spec: EvaluatorSpec) -> None:
    maker = PairMaker(spec)
    pairs = maker.pairs(maker.supernet.full(), ROWS)
    pipeline, prompts = load_pipeline(spec.pipeline), part_of(PROMPTS, ROWS)
    expected = generate(pipeline, prompts, encode_prompts(pipeline, prompts), SAMPLING)
    torch.testing.assert_close((pairs.pictures / 2 + 0.5).clamp(0, 1), expected)
    assert pairs.latents.shape[0] == len(ROWS)


def test_teachers_decode_in_fp32_whatever_draws(spec: EvaluatorSpec) -> None:
    rounded = replace(spec, sampling=SAMPLING.model_copy(update={"precision": "bf16"}))
    maker = PairMaker(rounded)
    pairs = maker.pairs(maker.supernet.full(), ROWS)
    vae = load_pipeline(spec.pipeline).vae
    with torch.no_grad():
        expected = vae.decode(pairs.latents / vae.config.scaling_factor).sample
    assert torch.equal(pairs.pictures, expected)


@pytest.mark.parametrize("method", ["_draw", "_decode"])
def test_without_room_for_a_batch_it_goes_on_with_half_and_says_so(
    spec: EvaluatorSpec, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    maker, rows = PairMaker(spec), range(4)
    expected = maker.pairs(maker.supernet.full(), rows)
    assert not maker.notes
    work = getattr(maker, method)

    def work_on_two(*arguments: Any) -> Tensor:
        if len(arguments[-1]) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        done: Tensor = work(*arguments)
        return done

    monkeypatch.setattr(maker, method, work_on_two)
    for _ in range(2):
        pairs = maker.pairs(maker.supernet.full(), rows)
        torch.testing.assert_close(pairs.latents, expected.latents)
        torch.testing.assert_close(pairs.pictures, expected.pictures)
    (note,) = maker.notes
    assert "no memory for 4 pictures at a time; goes on with 2" in note
    assert "last bits of pairs" in note


def test_every_batch_has_noise_of_its_own() -> None:
    first, second = part_of(PROMPTS, range(0, 2)), part_of(PROMPTS, range(2, 4))
    assert first.prompts == PROMPTS.prompts[:2]
    assert second.prompts == PROMPTS.prompts[2:4]
    shape = (4, 2, 2)
    assert not torch.equal(first.noise(range(2), shape), second.noise(range(2), shape))
    again = part_of(PROMPTS, range(0, 2))
    assert torch.equal(first.noise(range(2), shape), again.noise(range(2), shape))


def test_sdxl_draws_with_a_smaller_decoder_and_makes_pairs(
    sdxl_folder: str, spec: EvaluatorSpec
) -> None:
    maker = PairMaker(replace(spec, pipeline=sdxl_folder))
    pairs = maker.pairs(maker.supernet.full(), ROWS)
    pipeline, prompts = load_pipeline(sdxl_folder), part_of(PROMPTS, ROWS)
    full = DecoderArchitecture.full(autoencoder_config(pipeline.vae))
    pipeline.vae = inherit(pipeline.vae, full)
    drawn = generate(pipeline, prompts, encode_prompts(pipeline, prompts), SAMPLING)
    torch.testing.assert_close((pairs.pictures / 2 + 0.5).clamp(0, 1), drawn)
    pipeline.vae = inherit(load_pipeline(sdxl_folder).vae, full.narrowed(0.5))
    smaller = generate(pipeline, prompts, encode_prompts(pipeline, prompts), SAMPLING)
    assert smaller.shape == drawn.shape
    assert not torch.equal(smaller, drawn)
