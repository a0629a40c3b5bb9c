"""``evounet train cache``: encode a source once, so that a training need not at every step."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from experiments.data.cache import EMPTY_CAPTION, open_shard
from experiments.data.cache_index import EMPTY, INDEX, CacheIndex, MadeFrom, Shard, load_index
from experiments.data.encoder import Conditioning, PipelineEncoder
from experiments.data.picture import decode
from experiments.data.settings import ReadingSettings
from experiments.data.source import CaptionedPicture, DataError, Source
from supernet.checkpoint import save_tensors

_DECISIVE = {
    "encoder": "VAE or text encoder",
    "source_digest": "source, or of one that has changed since",
    "precision": "precision",
}
_DTYPES = {"fp16": torch.float16, "fp32": torch.float32}


class CacheSettings(BaseModel):
    """How a cache is written.

    Attributes:
        reading: of the source.
        batch_size: pictures encoded at a time.
        shard_size: pictures of one file; what is lost at most when a run is killed.
        precision: of latents and hidden states. ``fp16`` keeps more digits than a training in
            bf16 reads, in half the space.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    reading: ReadingSettings = ReadingSettings()
    batch_size: int = Field(16, ge=1)
    shard_size: int = Field(1024, ge=1)
    precision: Literal["fp16", "fp32"] = "fp16"


class CacheWriter:
    """Writes a cache, or what an interrupted run left to write of it.

    A shard is written whole, then listed in the index: killed at any moment, the next run makes
    those shards that are not listed.

    Args:
        folder: of the cache.
        pipeline: its name, for the index.
        encoder: of that pipeline.
        name: of the source, for the index.
        source: what to encode.
        settings: sizes and precision.

    Raises:
        DataError: if the folder holds something else, or a cache of other things.
    """

    def __init__(
        self,
        folder: Path,
        pipeline: str,
        encoder: PipelineEncoder,
        name: str,
        source: Source,
        settings: CacheSettings,
    ) -> None:
        self.folder = folder
        self.encoder = encoder
        self.source = source
        self.settings = settings
        made_from = MadeFrom(
            pipeline=pipeline,
            encoder=encoder.digest,
            source=name,
            source_digest=source.digest,
            pictures=len(source),
            latents=encoder.latent_shape,
            text=tuple(encoder.empty.encoder_hidden_states.shape[1:]),
            precision=settings.precision,
        )
        self.index = _begun(folder, made_from)

    @property
    def left(self) -> int:
        """Pictures that are not encoded yet."""
        return self.index.made_from.pictures - self.index.pictures

    def write(self, on_progress: Callable[[int, dict[str, float]], None]) -> None:
        """Encode what is left; ``on_progress`` is told how many pictures that were so far."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.index.save(self.folder)
        save_tensors(self.folder / EMPTY, self._stored(self.encoder.empty), {})
        settings, total, begun = self.settings, self.index.made_from.pictures, self.index.pictures
        numbers = self._caption_numbers()
        unread = self.source.in_order(begun)
        for start in range(begun, total, settings.shard_size):
            end = min(start + settings.shard_size, total)
            shard = _ShardContents(self.encoder, numbers)
            for done in range(start, end, settings.batch_size):
                count = min(settings.batch_size, end - done)
                shard.add([read() for read in islice(unread, count)])
                on_progress(done + count - begun, {})
            self._save(shard)

    def _caption_numbers(self) -> dict[str, int]:
        """Of all captions in the shards that are there; the empty one is in none."""
        files = (open_shard(self.folder / shard.file) for shard in self.index.shards)
        captions = chain.from_iterable(json.loads(file.metadata()["captions"]) for file in files)
        return {"": EMPTY_CAPTION} | {caption: number for number, caption in enumerate(captions)}

    def _save(self, shard: _ShardContents) -> None:
        file = f"shard-{len(self.index.shards):05}.safetensors"
        tensors = shard.tensors() | self._stored(shard.conditioning)
        tensors["latents"] = tensors["latents"].to(_DTYPES[self.settings.precision])
        save_tensors(self.folder / file, tensors, {"captions": json.dumps(shard.captions)})
        entry = Shard(file=file, pictures=shard.pictures, captions=len(shard.captions))
        self.index = self.index.model_copy(update={"shards": (*self.index.shards, entry)})
        self.index.save(self.folder)

    def _stored(self, conditioning: Conditioning) -> dict[str, Tensor]:
        dtype = _DTYPES[self.settings.precision]
        states = conditioning.encoder_hidden_states.to("cpu", dtype)
        if conditioning.text_embeds is None:
            return {"encoder_hidden_states": states}
        pooled = conditioning.text_embeds.to("cpu", dtype)
        return {"encoder_hidden_states": states, "text_embeds": pooled}


class _ShardContents:
    """Encodes pictures, and those of their captions that are new; ``numbers`` learns them."""

    def __init__(self, encoder: PipelineEncoder, numbers: dict[str, int]) -> None:
        self.captions: list[str] = []
        self.conditioning = encoder.empty.rows([])
        self._encoder = encoder
        self._numbers = numbers
        self._offsets = [0]
        self._caption_numbers: list[int] = []
        self._latents: list[Tensor] = []
        self._time_ids: list[Tensor] = []

    @property
    def pictures(self) -> int:
        return len(self._offsets) - 1

    def add(self, pictures: Sequence[CaptionedPicture]) -> None:
        images = [decode(picture) for picture in pictures]
        self._latents.append(self._encoder.latents(images).cpu())
        if self._encoder.is_xl:
            sizes = [(image.height, image.width) for image in images]
            self._time_ids.append(self._encoder.time_ids(sizes).cpu())
        first_new = len(self.captions)
        for picture in pictures:
            for caption in picture.captions:
                if caption not in self._numbers:
                    # The empty caption is among them, and numbered before the first.
                    self._numbers[caption] = len(self._numbers) - 1
                    self.captions.append(caption)
                self._caption_numbers.append(self._numbers[caption])
            self._offsets.append(len(self._caption_numbers))
        if new := self.captions[first_new:]:
            encoded = self._encoder.conditioning(new)
            self.conditioning = self.conditioning.followed_by(encoded)

    def tensors(self) -> dict[str, Tensor]:
        tensors = {
            "latents": torch.cat(self._latents),
            "caption_offsets": torch.tensor(self._offsets),
            "caption_numbers": torch.tensor(self._caption_numbers),
        }
        return tensors | ({"time_ids": torch.cat(self._time_ids)} if self._time_ids else {})


def _begun(folder: Path, made_from: MadeFrom) -> CacheIndex:
    """The index of what an interrupted run left, or a new one."""
    if not (folder / INDEX).exists():
        # A run that was killed early may have left a hidden, half-written file.
        if folder.exists() and any(not path.name.startswith(".") for path in folder.iterdir()):
            raise DataError(f"{folder}: is there already, and no cache; give a new folder")
        return CacheIndex(made_from=made_from)
    index = load_index(folder)
    for field, what in _DECISIVE.items():
        if getattr(index.made_from, field) != getattr(made_from, field):
            raise DataError(
                f"{folder}: is a cache made with another {what}; give a new folder, or call "
                "'evounet train cache' as before"
            )
    return index
