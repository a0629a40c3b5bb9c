"""Pairs on disk: shards of safetensors, and an index that is written last."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import torch
from diffusers import AutoencoderKL
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from distillation.pairs import PairBatches, Pairs
from evaluators.evaluator import weights_digest
from experiments.data.cache import open_shard
from experiments.data.cache_index import FILE_NAME, Places
from experiments.data.source import DataError, EpochOrder
from search.state import write_atomically
from supernet.checkpoint import save_tensors

INDEX = "pairs.json"
_ANEW = "make the pairs again in a new run with 'evounet distill decoder'"
_USUAL_STD = (0.25, 4.0)  # of latents times their scaling factor, which is there to make it 1


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Origin(_Value):
    """What the contents of all shards follow from.

    Attributes:
        pipeline: folder or Hugging Face id, for people.
        decoder: digest of the teacher's weights.
        scaling_factor: that latents are times.
        drawn: digest of prompts, seed and sampling.
        latents: shape of one, ``(4, h, w)``.
        pictures: likewise, ``(3, height, width)``.
        count: pairs in all.
        shard_size: pairs of every shard but the last.
    """

    pipeline: str
    decoder: str
    scaling_factor: float
    drawn: str
    latents: tuple[int, ...]
    pictures: tuple[int, ...]
    count: int
    shard_size: int


class PairsIndex(_Value):
    """Which shards are whole: others are made again."""

    origin: Origin
    shards: tuple[Annotated[str, Field(pattern=FILE_NAME)], ...] = ()

    def rows(self, shard: int) -> range:
        """Pairs of a shard."""
        start = shard * self.origin.shard_size
        return range(start, min(start + self.origin.shard_size, self.origin.count))

    @property
    def pairs(self) -> int:
        """How many are stored."""
        return min(len(self.shards) * self.origin.shard_size, self.origin.count)

    def save(self, folder: Path) -> None:
        write_atomically(folder / INDEX, self.model_dump_json(indent=1) + "\n")


def load_index(folder: Path) -> PairsIndex:
    """The index of stored pairs, finished or not.

    Raises:
        DataError: naming the file, if it is missing or damaged.
    """
    path = folder / INDEX
    try:
        return PairsIndex.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise DataError(f"{path}: cannot be read as the index of pairs; {_ANEW}") from error


class PairStore:
    """Writes pairs, or what an interrupted run left to write of them.

    A shard is written whole, then listed in the index: killed at any moment, the next run makes
    those that are not listed, and no pair twice.

    Args:
        folder: of the shards.
        origin: what they follow from.

    Raises:
        DataError: if the folder has an index of other pairs, or a damaged one.
    """

    def __init__(self, folder: Path, origin: Origin) -> None:
        self.folder = folder
        self.index = PairsIndex(origin=origin)
        if (folder / INDEX).exists():
            self.index = load_index(folder)
        if self.index.origin != origin:
            raise DataError(f"{folder}: holds pairs of other settings; give a new run folder")

    @property
    def left(self) -> int:
        """Pairs that are not stored yet."""
        return self.index.origin.count - self.index.pairs

    def fill(
        self,
        make: Callable[[range], Iterator[Pairs]],
        on_progress: Callable[[int, dict[str, float]], None],
    ) -> None:
        """Make and store what is left.

        Args:
            make: pairs of some numbers, a batch at a time.
            on_progress: told how many were made so far.

        Raises:
            DataError: naming a pair that is not finite; what was stored before it stays.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        done = 0
        while self.left:
            number = len(self.index.shards)
            rows = self.index.rows(number)
            parts: list[Pairs] = []
            for part in make(rows):
                first = self.index.pairs + sum(len(each) for each in parts)
                _check_finite(part, f"pair {first} and those drawn with it")
                parts.append(part)
                done += len(part)
                on_progress(done, {})
            self._save(f"pairs-{number:05}.safetensors", Pairs.joined(parts))

    def _save(self, file: str, pairs: Pairs) -> None:
        # fp16 keeps a picture to 11 bits, three more than it is shown with.
        tensors = {"latents": pairs.latents.half(), "pictures": pairs.pictures.half()}
        save_tensors(self.folder / file, tensors, {})
        self.index = self.index.model_copy(update={"shards": (*self.index.shards, file)})
        self.index.save(self.folder)


class StoredPairs:
    """Reads pairs, of which there may be more than memory holds.

    Args:
        folder: of a finished store.
        teacher: the autoencoder whose decoder they are to teach.

    Raises:
        DataError: if the store is unfinished or damaged, of another teacher, or its latents are at
            another scale than the teacher's.
    """

    def __init__(self, folder: Path, teacher: AutoencoderKL) -> None:
        self.folder = folder
        self.index = load_index(folder)
        origin = self.index.origin
        if self.index.pairs < origin.count:
            raise DataError(
                f"{folder}: is unfinished, {self.index.pairs} of {origin.count} pairs are there; "
                "call 'evounet distill decoder' again as before"
            )
        own = teacher.config.scaling_factor
        if not math.isclose(origin.scaling_factor, own):
            raise DataError(
                f"{folder / INDEX}: field 'scaling_factor' is {origin.scaling_factor:g}, this "
                f"autoencoder's is {own:g}, so its latents are at another scale; {_ANEW}"
            )
        if origin.decoder != decoder_digest(teacher):
            raise DataError(f"{folder}: holds pairs of another decoder than this one; {_ANEW}")
        self._shards = [open_shard(folder / file, _ANEW) for file in self.index.shards]
        counts = [len(self.index.rows(shard)) for shard in range(len(self._shards))]
        self._places = Places(counts)
        for shard, count in enumerate(counts):
            self._check_shard(shard, count)

    def __len__(self) -> int:
        return self.index.pairs

    def batches(self, batch_size: int, seed: int) -> PairBatches:
        """Epoch after epoch, each in an order of its own."""
        order = EpochOrder(len(self), seed)

        def batch(step: int, rows: range) -> Pairs:
            return self.rows([order[step * batch_size + row] for row in rows])

        return batch

    def rows(self, numbers: list[int]) -> Pairs:
        """Pairs by their numbers, in fp16.

        Raises:
            DataError: naming the shard and the row of one that is not finite.
        """
        return Pairs.joined([self._pair(number) for number in numbers])

    def _pair(self, number: int) -> Pairs:
        shard, row = self._places[number]
        pair = Pairs(*(self._tensor(shard, name, row) for name in ("latents", "pictures")))
        _check_finite(pair, f"{self.folder / self.index.shards[shard]}, row {row}")
        return pair

    def _tensor(self, shard: int, name: str, row: int) -> Tensor:
        tensor: Tensor = self._shards[shard].get_slice(name)[row : row + 1]
        return tensor

    def _check_shard(self, shard: int, count: int) -> None:
        path, file, origin = self.folder / self.index.shards[shard], self._shards[shard], self.index
        for name in ("latents", "pictures"):
            expected = [count, *getattr(origin.origin, name)]
            there = name in file.keys()  # noqa: SIM118 - a file, not a mapping
            shape = list(file.get_slice(name).get_shape()) if there else None
            if shape != expected:
                raise DataError(f"{path}: '{name}' has shape {shape}, not {expected}; {_ANEW}")
        std = file.get_slice("latents")[:].float().std().item()
        low, high = _USUAL_STD
        if not math.isnan(std) and not low <= std <= high:
            raise DataError(
                f"{path}: its latents have a standard deviation of {std:.3g}, where those times "
                f"the scaling factor have about 1 ({low:g} to {high:g}); {_ANEW}"
            )


def decoder_digest(vae: AutoencoderKL) -> str:
    """Twelve hexadecimal digits that tell a decoder's weights from others."""
    ours = ("decoder.", "post_quant_conv.")
    return weights_digest({n: w for n, w in vae.state_dict().items() if n.startswith(ours)})


def _check_finite(pairs: Pairs, which: str) -> None:
    for name, values in (("latents", pairs.latents), ("pictures", pairs.pictures)):
        if not torch.isfinite(values).all():
            raise DataError(
                f"{which}: the {name} are not finite; draw with decoder.pairs.sampling.precision = "
                "'fp32', or make the pairs again"
            )
