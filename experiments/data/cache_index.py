"""The index of a cache: what it was made from, and which of its shards are whole."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from experiments.data.encoder import PipelineEncoder
from experiments.data.source import DataError
from search.state import write_atomically

INDEX = "evounet-cache.json"
EMPTY = "empty.safetensors"
# Of a shard: nothing that leads out of its folder.
FILE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MadeFrom(_Value):
    """What the contents of a cache follow from.

    Attributes:
        pipeline: folder or Hugging Face id, for people.
        encoder: digest of what encodes in it.
        source: folder or pattern, for people.
        source_digest: tells it from what it was before it changed.
        pictures: how many the source has.
        latents: their shape, ``(4, h, w)``.
        text: shape of the hidden states, ``(tokens, width)``.
        precision: ``fp16`` or ``fp32``.
    """

    pipeline: str
    encoder: str
    source: str
    source_digest: str
    pictures: int
    latents: tuple[int, ...]
    text: tuple[int, ...]
    precision: str


class Shard(_Value):
    """One file: ``pictures`` of the source, and the ``captions`` that none before it had."""

    file: str = Field(pattern=FILE_NAME)
    pictures: int
    captions: int


class CacheIndex(_Value):
    """The file that is written last: shards that it does not list are made again."""

    made_from: MadeFrom
    shards: tuple[Shard, ...] = ()

    @property
    def pictures(self) -> int:
        return sum(shard.pictures for shard in self.shards)

    @property
    def captions(self) -> int:
        return sum(shard.captions for shard in self.shards)

    @property
    def complete(self) -> bool:
        return self.pictures == self.made_from.pictures

    def save(self, folder: Path) -> None:
        write_atomically(folder / INDEX, self.model_dump_json(indent=1) + "\n")

    def check_encoder(self, folder: Path, encoder: PipelineEncoder) -> None:
        """Refuse a pipeline for which other latents or hidden states would have been written.

        Raises:
            DataError: naming the cache, what does not fit, and the fix.
        """
        made, fix = self.made_from, "make it again with 'evounet train cache'"
        latents, text = encoder.latent_shape, tuple(encoder.empty.encoder_hidden_states.shape[1:])
        for what, has, wanted in (
            ("latents", made.latents, latents),
            ("hidden states", made.text, text),
        ):
            if has != wanted:
                raise DataError(
                    f"{folder}: has {what} {_shape(has)} of {made.pipeline}, this pipeline needs "
                    f"{_shape(wanted)}; {fix}"
                )
        if made.encoder != encoder.digest:
            raise DataError(
                f"{folder}: was made with another VAE or text encoder, those of {made.pipeline}; "
                f"{fix}"
            )


class Places:
    """In which shard, and where in it, a number that counts through all shards is found."""

    def __init__(self, counts: list[int]) -> None:
        self._starts = list(itertools.accumulate(counts, initial=0))

    def __getitem__(self, number: int) -> tuple[int, int]:
        shard = bisect_right(self._starts, number) - 1
        return shard, number - self._starts[shard]


def load_index(folder: Path) -> CacheIndex:
    """The index of a cache, finished or not.

    Raises:
        DataError: naming the file, if it is missing or damaged.
    """
    path = folder / INDEX
    try:
        return CacheIndex.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise DataError(
            f"{path}: cannot be read as the index of a cache; restore it, or make the cache again "
            "in a new folder with 'evounet train cache'"
        ) from error


def _shape(values: tuple[int, ...]) -> str:
    return "×".join(map(str, values))
