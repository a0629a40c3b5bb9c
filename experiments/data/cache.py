"""Training data encoded before: rows of safetensors files, mapped into memory as they are used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from experiments.data.batches import CaptionDraws
from experiments.data.cache_index import EMPTY, CacheIndex, Places, load_index
from experiments.data.encoder import Conditioning, PipelineEncoder, added_cond_kwargs
from experiments.data.source import DataError, EpochOrder
from supernet.batches import Batch, Batches

_ANEW = "make the cache again in a new folder with 'evounet train cache'"
EMPTY_CAPTION = -1  # its number; it is not among those of the shards


class CachedData:
    """What ``evounet train cache`` wrote. It may be larger than memory.

    A cache of a folder or a saved dataset gives the batches that its source gives; one of tar
    shards gives the same pictures in another order, since it needs no shuffle buffer.

    Args:
        folder: of the cache.
        encoder: of the pipeline that is trained; only asked what it would have written.

    Raises:
        DataError: if the cache is unfinished, damaged, or of another pipeline.
    """

    def __init__(self, folder: Path, encoder: PipelineEncoder) -> None:
        self.folder = folder
        self.index = load_index(folder)
        if not self.index.complete:
            raise DataError(
                f"{folder}: is unfinished, {self.index.pictures} of "
                f"{self.index.made_from.pictures} pictures are encoded; "
                "call 'evounet train cache' again as before"
            )
        self.index.check_encoder(folder, encoder)
        self.device = encoder.pipeline.device
        self.rows = CachedRows(folder, self.index)

    def check(self, batch_size: int) -> None:
        if self.index.pictures < batch_size:
            raise DataError(
                f"{self.folder}: has {self.index.pictures} pictures, fewer than one batch of "
                f"{batch_size}; lower batch_size"
            )

    def batches(self, batch_size: int, seed: int, caption_dropout: float) -> Batches:
        self.check(batch_size)
        order = EpochOrder(self.index.pictures, seed)
        draws = CaptionDraws(batch_size, seed, caption_dropout)

        def batch(step: int, rows: range) -> Batch:
            pictures = [order[step * batch_size + row] for row in rows]
            captions = [self.rows.captions(picture) for picture in pictures]
            drawn = draws(step, rows, [len(numbers) for numbers in captions])
            chosen = [
                EMPTY_CAPTION if number is None else int(numbers[number])
                for numbers, number in zip(captions, drawn, strict=True)
            ]
            return self._batch(pictures, chosen)

        return batch

    def _batch(self, pictures: list[int], captions: list[int]) -> Batch:
        time_ids = None
        if self.rows.is_xl:
            time_ids = self.rows.stacked("time_ids", pictures).to(self.device)
        conditioning = self.rows.conditioning(captions, self.device)
        return Batch(
            self.rows.stacked("latents", pictures).float().to(self.device),
            conditioning.encoder_hidden_states,
            added_cond_kwargs(conditioning.text_embeds, time_ids),
        )


class CachedRows:
    """Single rows of a cache's shards; nothing is held in memory but the files' headers.

    Raises:
        DataError: naming a shard that is missing or damaged.
    """

    def __init__(self, folder: Path, index: CacheIndex) -> None:
        self._shards = [open_shard(folder / shard.file) for shard in index.shards]
        self._pictures = Places([shard.pictures for shard in index.shards])
        self._captions = Places([shard.captions for shard in index.shards])
        empty = open_shard(folder / EMPTY)
        self.is_xl = "text_embeds" in empty.keys()  # noqa: SIM118 - a file, not a mapping
        self._empty = {name: empty.get_tensor(name) for name in self._text_names()}

    def captions(self, picture: int) -> Tensor:
        """Numbers of the captions of a picture, ``(n,)``."""
        shard, row = self._pictures[picture]
        start, end = self._shards[shard].get_slice("caption_offsets")[row : row + 2].tolist()
        numbers: Tensor = self._shards[shard].get_slice("caption_numbers")[start:end]
        return numbers

    def stacked(self, name: str, pictures: list[int]) -> Tensor:
        """``latents`` or ``time_ids`` of pictures, in their stored precision."""
        return torch.stack([self._row(name, *self._pictures[picture]) for picture in pictures])

    def conditioning(self, captions: list[int], device: torch.device) -> Conditioning:
        """Of captions by number, :data:`EMPTY_CAPTION` included."""
        parts = (
            torch.stack([self._text(name, caption) for caption in captions]).float().to(device)
            for name in self._text_names()
        )
        return Conditioning(*parts)

    def _text(self, name: str, caption: int) -> Tensor:
        if caption == EMPTY_CAPTION:
            return self._empty[name][0]
        return self._row(name, *self._captions[caption])

    def _row(self, name: str, shard: int, row: int) -> Tensor:
        tensor: Tensor = self._shards[shard].get_slice(name)[row]
        return tensor

    def _text_names(self) -> Iterator[str]:
        yield "encoder_hidden_states"
        if self.is_xl:
            yield "text_embeds"


def open_shard(path: Path, anew: str = _ANEW) -> Any:
    """A safetensors file, mapped into memory.

    Args:
        path: of the file.
        anew: how it is made again, for the message.

    Raises:
        DataError: naming the file, if it is missing or damaged.
    """
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise DataError(
            f"{path}: cannot be read as safetensors ({error}); copy it again, or {anew}"
        ) from error
