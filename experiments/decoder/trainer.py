"""Trainings of a decoder: who does them, and on what."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from distillation.decoder_training import DecoderTraining, decoder_parameters, train_decoder
from distillation.inheritance import inherit
from distillation.pairs import PairBatches, Pairs
from distillation.tiny_architecture import AnyDecoder
from evaluators.pipelines import load_pipeline
from experiments.decoder.stored_pairs import StoredPairs
from experiments.progress import OnProgress
from experiments.ray_trainer import RayTrainer
from experiments.scaling import ScalingSettings
from experiments.trainer import Trainer


@dataclass(frozen=True)
class DecoderJob:
    """One training.

    Attributes:
        architecture: of the decoder.
        settings: of the training.
        seed: fixes the order of pairs.
        weights: that it begins with; if there are none, its teacher's most important channels.
    """

    architecture: AnyDecoder
    settings: DecoderTraining
    seed: int
    weights: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """Tells this training from others of the same teacher."""
        return f"{self.settings.model_dump_json()} {self.seed} {self.architecture.id}"


class PairSource(Protocol):
    """Where a training's pairs come from."""

    def batches(self, batch_size: int, seed: int) -> PairBatches: ...


class DecoderTrainer:
    """Trains decoders in this process.

    Args:
        teacher: the autoencoder whose decoder they learn from, on the device that trains.
        pairs: what on.
    """

    def __init__(self, teacher: AutoencoderKL, pairs: PairSource) -> None:
        self.teacher = teacher
        self.pairs = pairs

    def train(
        self,
        job: DecoderJob,
        checkpoint: Path,
        continue_from: Path | None,
        on_progress: OnProgress,
    ) -> dict[str, Tensor]:
        """See :meth:`experiments.trainer.Trainer.train`; the weights are the decoder's alone."""
        student = inherit(self.teacher, job.architecture)
        if job.weights:
            student.load_state_dict(job.weights, strict=False)  # the encoder is not among them
        train_decoder(
            student,
            self.pairs.batches(job.settings.batch_size, job.seed),
            job.settings,
            job.seed,
            checkpoint=checkpoint,
            continue_from=continue_from,
            on_progress=on_progress,
        )
        trained = decoder_parameters(student)
        return {name: weight.detach().to("cpu", copy=True) for name, weight in trained.items()}


@dataclass(frozen=True)
class OpenStored:
    """Makes a trainer on stored pairs, here or on a node that sees pipeline and pairs.

    Attributes:
        pipeline: folder or Hugging Face id.
        pairs: folder.
    """

    pipeline: str
    pairs: Path

    def __call__(self, device: torch.device) -> DecoderTrainer:
        teacher = load_pipeline(self.pipeline).vae.to(device)
        return DecoderTrainer(teacher, StoredPairs(self.pairs, teacher))


def open_trainer(stored: OpenStored, scaling: ScalingSettings) -> Trainer[DecoderJob]:
    """Who trains on stored pairs: this process, or workers of the Ray that is connected."""
    if scaling.on_ray:
        return RayTrainer(stored, scaling)
    return stored(torch.device("cpu"))


class StreamedPairs:
    """Pairs that are used as they are made, each once; steps have to be asked for in order.

    Args:
        make: pairs of some numbers, in batches.
        count: of all pairs.
        made_at_once: pairs of a batch. Noise follows from where a batch begins, so a training
            that is resumed has them made from the beginning of one.
    """

    def __init__(
        self, make: Callable[[range], Iterator[Pairs]], count: int, made_at_once: int
    ) -> None:
        self._make = make
        self._count = count
        self._made_at_once = made_at_once
        self._made: Iterator[Pairs] = iter(())
        self._waiting: list[Pairs] = []
        self._step: int | None = None
        self._batch: Pairs | None = None

    def batches(self, batch_size: int, seed: int) -> PairBatches:
        """The seed is that of the prompts already."""

        def batch(step: int, rows: range) -> Pairs:
            if self._step is None:
                self._begin(step * batch_size)
            if step != self._step:
                assert self._step in (None, step - 1), "streamed pairs are used in their order"
                self._batch, self._step = self._next(batch_size), step
            assert self._batch is not None
            return self._batch[rows.start : rows.stop : rows.step]

        return batch

    def _begin(self, first: int) -> None:
        """Make ready for pairs from number ``first`` on."""
        start = first // self._made_at_once * self._made_at_once
        self._made = self._make(range(start, self._count))
        self._next(first - start)

    def _next(self, count: int) -> Pairs | None:
        while sum(len(pairs) for pairs in self._waiting) < count:
            self._waiting.append(next(self._made))
        if not count:
            return None
        joined = Pairs.joined(self._waiting)
        self._waiting = [joined[count:]]
        return joined[:count]
