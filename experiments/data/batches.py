"""Batches of a training, encoded from captioned pictures as they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from experiments.data.encoder import PipelineEncoder, added_cond_kwargs
from experiments.data.picture import decode
from experiments.data.source import CaptionedPicture, Source, Unread, check_enough
from supernet.batches import Batch, Batches


class CaptionDraws:
    """Which caption of a picture a row of a step is given, if any.

    Args:
        batch_size: rows of a step.
        seed: with the step it fixes the draws.
        caption_dropout: share of rows that are given the empty caption, in [0, 1).
    """

    def __init__(self, batch_size: int, seed: int, caption_dropout: float) -> None:
        self.batch_size = batch_size
        self.seed = seed
        self.caption_dropout = caption_dropout

    def __call__(self, step: int, rows: range, counts: Sequence[int]) -> list[int | None]:
        """Number of the caption, for every row of ``rows``; None for the empty one.

        Args:
            step: of the training.
            rows: of the step's batch.
            counts: how many captions the picture of each of them has.
        """
        # Three words, where an order of an epoch has two: never the same random numbers.
        uniform = np.random.default_rng((self.seed, step, 1)).random((2, self.batch_size))
        return [
            None if uniform[0, row] < self.caption_dropout else int(uniform[1, row] * count)
            for row, count in zip(rows, counts, strict=True)
        ]


class PictureData:
    """Pictures of a source, encoded at every step by the pipeline's VAE and text encoders."""

    def __init__(self, name: str, source: Source, encoder: PipelineEncoder) -> None:
        self.name = name
        self.source = source
        self.encoder = encoder

    def check(self, batch_size: int) -> None:
        check_enough(self.source, batch_size, self.name)

    def batches(self, batch_size: int, seed: int, caption_dropout: float) -> Batches:
        self.check(batch_size)
        steps = _Steps(self.source, batch_size, seed)
        draws = CaptionDraws(batch_size, seed, caption_dropout)

        def batch(step: int, rows: range) -> Batch:
            unread = steps[step]
            pictures = [unread[row]() for row in rows]
            drawn = draws(step, rows, [len(picture.captions) for picture in pictures])
            captions = [
                "" if number is None else picture.captions[number]
                for picture, number in zip(pictures, drawn, strict=True)
            ]
            return encode(self.encoder, pictures, captions)

        return batch


def encode(
    encoder: PipelineEncoder, pictures: Sequence[CaptionedPicture], captions: Sequence[str]
) -> Batch:
    """Pictures and the captions drawn for them, as a UNet trains on them."""
    images = [decode(picture) for picture in pictures]
    conditioning = encoder.conditioning(captions)
    sizes = [(image.height, image.width) for image in images]
    return Batch(
        encoder.latents(images),
        conditioning.encoder_hidden_states,
        added_cond_kwargs(
            conditioning.text_embeds, encoder.time_ids(sizes) if encoder.is_xl else None
        ),
    )


class _Steps:
    """The pictures of a step; steps that follow each other read the source in one go."""

    def __init__(self, source: Source, batch_size: int, seed: int) -> None:
        self.source = source
        self.batch_size = batch_size
        self.seed = seed
        self._step = -1
        self._unread: list[Unread] = []
        self._stream: Iterator[Unread] = iter(())

    def __getitem__(self, step: int) -> list[Unread]:
        # A step may be asked for again, for other rows of it.
        if step != self._step:
            if self._step < 0 or step != self._step + 1:
                self._stream = self.source.shuffled(self.seed, step * self.batch_size)
            self._unread = list(islice(self._stream, self.batch_size))
            self._step = step
        return self._unread
