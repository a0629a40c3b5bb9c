"""The probe for the fastest way to draw: what it tries, what it chooses, what it measures."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from diffusers import StableDiffusionPipeline

from evaluators import generation, sampling_probe
from evaluators.generation import SamplingChoice, SamplingSettings
from evaluators.pipelines import load_pipeline
from evaluators.sampling_probe import probe

Speed = Callable[[SamplingSettings], float | None]


def tried(
    monkeypatch: pytest.MonkeyPatch, choice: SamplingChoice, prompts: int, speed: Speed
) -> tuple[SamplingSettings, list[SamplingSettings]]:
    """What is chosen, and all that was tried, on a device of invented speed."""
    monkeypatch.setattr(sampling_probe, "_pictures_per_s", lambda _, settings: speed(settings))
    best, trials = probe(SimpleNamespace(device=torch.device("cpu")), choice, prompts)
    return best.settings, [trial.settings for trial in trials]


def batches(settings: list[SamplingSettings]) -> list[int]:
    return [each.batch_size for each in settings]


def test_batches_grow_while_more_pictures_come_out(monkeypatch: pytest.MonkeyPatch) -> None:
    speeds = {4: 10.0, 8: 15.0, 16: 18.0, 32: 18.5, 64: 99.0}
    choice = SamplingChoice(batch_size="auto", guidance_scale=3.0)
    best, trials = tried(monkeypatch, choice, 1000, lambda settings: speeds[settings.batch_size])
    assert batches(trials) == [4, 8, 16, 32]
    assert best == SamplingSettings(batch_size=16, guidance_scale=3.0)


def test_batches_end_where_memory_does(monkeypatch: pytest.MonkeyPatch) -> None:
    speeds = {4: 10.0, 8: 20.0, 16: None}
    choice = SamplingChoice(batch_size="auto")
    best, trials = tried(monkeypatch, choice, 1000, lambda settings: speeds[settings.batch_size])
    assert batches(trials) == [4, 8, 16]
    assert best.batch_size == 8


@pytest.mark.parametrize(
    ("prompts", "expected"), [(2, [2]), (4, [4]), (11, [4, 8, 11]), (16, [4, 8, 16])]
)
def test_a_batch_holds_no_more_than_the_prompts(
    monkeypatch: pytest.MonkeyPatch, prompts: int, expected: list[int]
) -> None:
    choice = SamplingChoice(batch_size="auto")
    best, trials = tried(monkeypatch, choice, prompts, lambda settings: settings.batch_size)
    assert batches(trials) == expected
    assert best.batch_size == prompts


@pytest.mark.parametrize("faster", ["contiguous", "channels_last"])
def test_the_memory_format_is_what_is_faster(monkeypatch: pytest.MonkeyPatch, faster: str) -> None:
    choice = SamplingChoice(memory_format="auto", batch_size=6)
    best, trials = tried(
        monkeypatch, choice, 100, lambda settings: 10.0 + 2 * (settings.memory_format == faster)
    )
    assert best.memory_format == faster
    assert batches(trials) == [6, 6]


def test_a_few_percent_are_no_reason_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = SamplingChoice(memory_format="auto")
    best, _ = tried(
        monkeypatch,
        choice,
        100,
        lambda settings: 10.0 + 0.3 * (settings.memory_format == "channels_last"),
    )
    assert best.memory_format == "contiguous"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_precision_is_the_device_s_and_not_tried(
    monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    monkeypatch.setattr(generation, "settled_precision", lambda given, device: precision)
    choice = SamplingChoice(precision="auto", memory_format="auto")
    _, trials = tried(monkeypatch, choice, 100, lambda _: 1.0)
    assert [each.precision for each in trials] == [precision, precision]


def test_no_memory_for_the_first_batch_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = SamplingChoice(batch_size="auto")
    with pytest.raises(ValueError, match="batches of 4, fp32, contiguous: out of memory; use a"):
        tried(monkeypatch, choice, 100, lambda _: None)


@pytest.fixture
def pipeline(pipeline_folder: str) -> StableDiffusionPipeline:
    return load_pipeline(pipeline_folder)


@pytest.mark.parametrize(("guidance_scale", "passed"), [(1.0, 3), (2.0, 6)])
def test_a_trial_runs_the_unet_and_the_decoder_as_a_drawing_does(
    pipeline: StableDiffusionPipeline, guidance_scale: float, passed: int
) -> None:
    seen: list[int] = []
    pipeline.unet.conv_in.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    decoded: list[int] = []
    pipeline.vae.decoder.register_forward_pre_hook(lambda _, given: decoded.append(len(given[0])))
    settings = SamplingSettings(batch_size=3, guidance_scale=guidance_scale)
    speed = sampling_probe._pictures_per_s(pipeline, settings)
    assert speed is not None
    assert speed > 0
    assert set(seen) == {passed}
    assert set(decoded) == {3}


def test_more_steps_draw_fewer_pictures(pipeline: StableDiffusionPipeline) -> None:
    few, many = (
        sampling_probe._pictures_per_s(pipeline, SamplingSettings(num_inference_steps=steps))
        for steps in (1, 100)
    )
    assert few is not None
    assert many is not None
    assert few > 5 * many


def test_only_missing_memory_is_an_answer(pipeline: StableDiffusionPipeline) -> None:
    messages = iter(["DefaultCPUAllocator: can't allocate memory: you tried", "another"])

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(next(messages))

    pipeline.vae.decode = fail
    assert sampling_probe._pictures_per_s(pipeline, SamplingSettings(batch_size=1)) is None
    with pytest.raises(RuntimeError, match="another"):
        sampling_probe._pictures_per_s(pipeline, SamplingSettings(batch_size=1))


def test_a_probe_of_a_real_pipeline_fills_what_was_open(pipeline: StableDiffusionPipeline) -> None:
    choice = SamplingChoice(
        num_inference_steps=2, precision="auto", memory_format="auto", batch_size="auto"
    )
    best, trials = probe(pipeline, choice, prompts=8)
    assert best in trials
    assert best.settings.batch_size in (4, 8)
    assert best.settings.num_inference_steps == 2
    assert len({str(trial.settings) for trial in trials}) == len(trials) == 3
