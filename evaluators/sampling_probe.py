"""The fastest way to draw on a device, by a short try: memory format and batch size."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch

from evaluators.generation import SamplingChoice, SamplingSettings, convert, latent_shape
from evaluators.memory import is_out_of_memory
from evaluators.pipelines import Pipeline
from supernet.tracing import example_inputs

_GAIN = 1.05  # what is less than this much faster is not worth larger batches
_TIMED = 3


@dataclass(frozen=True)
class Trial:
    """Settings that were tried.

    Attributes:
        settings: with a batch size no larger than the number of prompts.
        pictures_per_s: drawn and decoded with the full UNet; None if they took too much memory.
    """

    settings: SamplingSettings
    pictures_per_s: float | None

    def __str__(self) -> str:
        speed = "out of memory" if self.pictures_per_s is None else f"{self.pictures_per_s:.3g}/s"
        return f"{self.settings}: {speed}"

    def is_gain_over(self, other: Trial) -> bool:
        """Whether this one is faster by more than a few percent."""
        return (self.pictures_per_s or 0.0) > _GAIN * (other.pictures_per_s or 0.0)


def probe(pipeline: Pipeline, choice: SamplingChoice, prompts: int) -> tuple[Trial, list[Trial]]:
    """Try what a choice leaves open, one thing after the other.

    The memory format first, with small batches, then batches twice as large as the last for as
    long as more pictures come out per second and memory suffices. The precision needs no try: it
    is what the device has instructions for.

    Args:
        pipeline: on the device in question; its weights are rounded and no good afterwards.
        choice: what is open and what is not.
        prompts: how many a batch can hold at most.

    Returns:
        The best trial, and all in their order.

    Raises:
        ValueError: if memory does not suffice for the first trial.
    """
    trials: list[Trial] = []

    def attempt(settings: SamplingSettings) -> Trial:
        trials.append(Trial(settings, _pictures_per_s(pipeline, settings)))
        return trials[-1]

    start = choice.start(pipeline.device.type)
    best = attempt(start.model_copy(update={"batch_size": min(start.batch_size, prompts)}))
    if best.pictures_per_s is None:
        raise ValueError(f"{best}; use a device with more of it, or a smaller batch_size")
    if "memory_format" in choice.left_open:
        trial = attempt(best.settings.model_copy(update={"memory_format": "channels_last"}))
        best = trial if trial.is_gain_over(best) else best
    while "batch_size" in choice.left_open and best.settings.batch_size < prompts:
        larger = min(2 * best.settings.batch_size, prompts)
        trial = attempt(best.settings.model_copy(update={"batch_size": larger}))
        if not trial.is_gain_over(best):
            break
        best = trial
    return best, trials


def _pictures_per_s(pipeline: Pipeline, settings: SamplingSettings) -> float | None:
    """By the time of one pass of the UNet and of the decoder; None if memory does not suffice."""
    convert(pipeline, settings)
    unet, device = pipeline.unet, pipeline.device
    _, height, width = latent_shape(pipeline)
    guided = 2 if settings.guidance_scale > 1 else 1
    tokens = pipeline.tokenizer.model_max_length
    try:
        inputs = example_inputs(unet, guided * settings.batch_size, height, width, tokens)
        latents = inputs["sample"][: settings.batch_size]
        autocast = torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16")
        with torch.no_grad(), autocast:
            pass_s = _median_s(lambda: unet(**inputs), device)
            decoder_s = _median_s(lambda: pipeline.vae.decode(latents), device)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return None
    return settings.batch_size / (settings.num_inference_steps * pass_s + decoder_s)


def _median_s(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of one run, after one for warm-up."""
    times = []
    for _ in range(1 + _TIMED):
        start = time.perf_counter()
        run()
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        times.append(time.perf_counter() - start)
    return median(times[1:])
