"""How long the parts of a pipeline take, and what makes one faster than another."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from evaluators.generation import latent_shape
from evaluators.pipelines import Pipeline
from supernet.tracing import example_inputs

_WARM_UP = 2


@dataclass(frozen=True)
class Times:
    """Of one picture under classifier-free guidance.

    Attributes:
        text_encoder_ms: for its prompt and the empty one.
        unet_ms: one pass of both.
        steps: such passes.
        decoder_ms: of its latents.
        picture_ms: the whole, from prompt to picture; the sum of the parts where it was not taken.
    """

    text_encoder_ms: float
    unet_ms: float
    steps: int
    decoder_ms: float
    picture_ms: float = 0.0

    def __post_init__(self) -> None:
        if not self.picture_ms:
            parts = self.text_encoder_ms + self.steps * self.unet_ms + self.decoder_ms
            object.__setattr__(self, "picture_ms", parts)


@dataclass(frozen=True)
class Factors:
    """By what one pipeline is faster than another; more than 1 is faster.

    Attributes:
        text_encoder: of its time.
        unet: of the time of a step.
        steps: of their number.
        decoder: of its time.
        whole: of the time of a picture.
    """

    text_encoder: float
    unet: float
    steps: float
    decoder: float
    whole: float

    @classmethod
    def between(cls, base: Times, final: Times) -> Factors:
        return cls(
            base.text_encoder_ms / final.text_encoder_ms,
            base.unet_ms / final.unet_ms,
            base.steps / final.steps,
            base.decoder_ms / final.decoder_ms,
            base.picture_ms / final.picture_ms,
        )


def time_pipelines(
    pipelines: Sequence[tuple[Pipeline, int]],
    prompts: Sequence[str],
    guidance_scale: float,
    repetitions: int,
    on_turn: Callable[[int], None] = lambda turns: None,
) -> list[Times]:
    """Times of several pipelines that take turns, medians, one picture at a time.

    Args:
        pipelines: and the steps that each draws with; as they lie, in their precision and on
            their device.
        prompts: one after the other, the same for each.
        guidance_scale: more than 1.
        repetitions: turns that count, after two for warm-up.
        on_turn: called with the number of turns done.
    """
    timed = [_Timed(pipeline, steps, guidance_scale) for pipeline, steps in pipelines]
    turns: list[list[tuple[float, ...]]] = [[] for _ in timed]
    for turn in range(_WARM_UP + repetitions):
        prompt = prompts[turn % len(prompts)]
        for each, own in zip(timed, turns, strict=True):
            own.append(each.turn(prompt))
        on_turn(turn + 1)
    return [each.times(own[_WARM_UP:]) for each, own in zip(timed, turns, strict=True)]


def turns(repetitions: int) -> int:
    """How many turns :func:`time_pipelines` takes."""
    return _WARM_UP + repetitions


class _Timed:
    """A pipeline with inputs for each of its parts."""

    def __init__(self, pipeline: Pipeline, steps: int, guidance_scale: float) -> None:
        self.pipeline = pipeline
        self.steps = steps
        self.guidance_scale = guidance_scale
        channels, height, width = latent_shape(pipeline)
        tokens = pipeline.tokenizer.model_max_length
        self.inputs = example_inputs(pipeline.unet, 2, height, width, tokens)
        self.latents = torch.randn(1, channels, height, width, device=pipeline.device)
        pipeline.set_progress_bar_config(disable=True)

    @torch.no_grad()
    def turn(self, prompt: str) -> tuple[float, ...]:
        """Text encoder, UNet, decoder and picture, in ms."""
        parts: tuple[Callable[[], object], ...] = (
            lambda: self.pipeline.encode_prompt(
                prompt,
                device=self.pipeline.device,
                num_images_per_prompt=1,
                do_classifier_free_guidance=True,
            ),
            lambda: self.pipeline.unet(**self.inputs),
            lambda: self.pipeline.vae.decode(self._scaled(self.latents)),
            lambda: self.pipeline(
                prompt, num_inference_steps=self.steps, guidance_scale=self.guidance_scale
            ),
        )
        return tuple(map(_milliseconds, parts))

    def times(self, turns: Sequence[tuple[float, ...]]) -> Times:
        text, unet, decoder, picture = (median(column) for column in zip(*turns, strict=True))
        return Times(text, unet, self.steps, decoder, picture)

    def _scaled(self, latents: Tensor) -> Tensor:
        return latents / float(self.pipeline.vae.config.scaling_factor)


def _milliseconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()  # a GPU answers before it is done
    return 1000 * (time.perf_counter() - start)
