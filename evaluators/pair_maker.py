"""Synthetic data of a decoder's training: latents that prompts give, and their pictures.

The paper draws them with the teacher pipeline from fresh noise every time (SnapFusion, Sec. 3.3).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from random import Random

import torch
from torch import Tensor

from distillation.pairs import Pairs, decode
from evaluators.evaluator import EvaluatorSpec
from evaluators.generation import Conditioning, convert, encode_prompts, generate_latents
from evaluators.memory import Portions, less_at_a_time
from evaluators.pipelines import load_pipeline
from evaluators.prompts import PromptSet
from evaluators.worker import WorkersEvaluator
from supernet.architecture import Architecture
from supernet.growth import load_weights
from supernet.supernet import Supernet

_SEEDS = 2**31


class PairMaker:
    """A model replica that makes pairs; it judges nothing.

    Args:
        spec: pipeline, prompts and sampling; its judges are not used.
        device: of torch.

    Attributes:
        notes: what it had to change to go on, in words.
    """

    def __init__(self, spec: EvaluatorSpec, device: str = "cpu") -> None:
        self.spec = spec
        self.notes: list[str] = []
        self._portions = Portions(spec.sampling.batch_size)
        self.pipeline = load_pipeline(spec.pipeline).to(device)
        # A decoder learns from its teacher's fp32 pictures, however latents are drawn.
        self.teacher = copy.deepcopy(self.pipeline.vae)
        convert(self.pipeline, spec.sampling)
        self.supernet = Supernet(self.pipeline.unet)

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take over a supernet's weights."""
        load_weights(self.supernet.unet, weights)

    @torch.no_grad()
    def pairs(self, architecture: Architecture, rows: range) -> Pairs:
        """Latents of some prompts and the teacher's pictures of them, on the CPU.

        Prompts are encoded here, a batch at a time: there may be a million of them.
        """
        prompts = part_of(self.spec.prompts, rows)
        conditioning = encode_prompts(self.pipeline, prompts)
        all_of_them, before = range(len(prompts)), self._portions.size
        with self.supernet.running(architecture):
            latents = self._portions(
                all_of_them, lambda some: self._draw(prompts, conditioning, some)
            )
        pictures = self._portions(all_of_them, lambda some: self._decode(latents[list(some)]))
        self.notes += less_at_a_time(before, self._portions, "pairs")
        return Pairs(latents, pictures)

    def _draw(self, prompts: PromptSet, conditioning: Conditioning, rows: range) -> Tensor:
        return generate_latents(self.pipeline, prompts, conditioning, self.spec.sampling, rows)

    def _decode(self, latents: Tensor) -> Tensor:
        return decode(self.teacher, latents.to(self.teacher.device)).float().cpu()


def part_of(prompts: PromptSet, rows: range) -> PromptSet:
    """Some prompts with noise that follows from the set's seed and the first of these rows."""
    seed = Random(f"{prompts.seed} {rows.start}").randrange(_SEEDS)
    return PromptSet(prompts.prompts[rows.start : rows.stop], seed)


def load_pair_maker(spec: EvaluatorSpec, threads: int, device: str) -> WorkersEvaluator:
    """For a pool: the evaluator that makes pairs."""
    torch.set_num_threads(threads)
    return PairMaker(spec, device)
