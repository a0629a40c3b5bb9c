"""Tar shards in the format of webdataset: ``00001.jpg`` followed by ``00001.txt`` or ``.json``."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import tarfile
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from experiments.data.extra import webdataset
from experiments.data.source import (
    CAPTION_NAMES,
    CaptionedPicture,
    DataError,
    Unread,
    as_captions,
)
from latency_tables.parsing import parse_json

_PICTURES = ("jpg", "jpeg", "png", "webp")
_LARGEST = 2**30  # bytes of a file in a shard
_Place = tuple[int, int]  # number of the shard in this epoch, of the sample in it


class TarShards:
    """Captioned pictures of tar files, which are read from front to end.

    Every epoch goes through the shards in an order of its own and through a shuffle buffer. Which
    sample comes when follows from the seed and from how many samples each shard has. So a
    training that goes on passes over what it had by reading the headers of tar files alone, and
    then reads no more than the shards of which something is left.

    Args:
        source: a folder of ``.tar`` files, one such file, or a brace pattern of them, as
            ``shards/{00000..00127}.tar``.
        caption_column: the caption's key in ``.json`` files; .txt files come first by default.
        shuffle_buffer: samples held in memory to be drawn from.

    Raises:
        DataError: if a shard is missing or damaged, or a sample has no caption.
    """

    def __init__(
        self, source: str, caption_column: str | None = None, shuffle_buffer: int = 1000
    ) -> None:
        self.shards = _shards(source)
        self.caption_column = caption_column
        self.shuffle_buffer = shuffle_buffer
        self._counts: dict[Path, int] = {}
        first = next(self.in_order(), None)
        if first is None:
            raise DataError(f"{source}: holds no picture; pack 1.jpg, 1.txt, 2.jpg and so on")
        first()

    def __len__(self) -> int:
        return sum(map(self._count, self.shards))

    @cached_property
    def digest(self) -> str:
        """Of all shards' headers: names and sizes of their files."""
        digest = hashlib.sha256()
        for shard in self.shards:
            for sample in _samples(shard, contents=False):
                digest.update(json.dumps(sample, default=bytes.decode).encode())
        return digest.hexdigest()[:12]

    def in_order(self, start: int = 0) -> Iterator[Unread]:
        return self._epoch(self.shards, 1, random.Random(0), start)

    def shuffled(self, seed: int, start: int = 0) -> Iterator[Unread]:
        epoch, start = divmod(start, len(self)) if start else (0, 0)
        for number in itertools.count(epoch):
            draw = random.Random(f"{seed} {number}")
            shards = draw.sample(self.shards, len(self.shards))
            yield from self._epoch(shards, self.shuffle_buffer, draw, start)
            start = 0

    def _epoch(
        self, shards: Sequence[Path], buffer: int, draw: random.Random, start: int
    ) -> Iterator[Unread]:
        order = _Shuffled(self._places(shards), buffer, draw)
        for _ in itertools.islice(order, start):
            pass
        left, passed = set(order.waiting), order.last
        samples = _samples_from(shards, max(min(left, default=passed)[0], 0))
        held: dict[_Place, dict[str, Any]] = {}
        for wanted in order:
            while wanted not in held:
                place, sample = next(samples)
                if place > passed or place in left:
                    held[place] = sample
            yield partial(self._picture, shards[wanted[0]], held.pop(wanted))

    def _places(self, shards: Sequence[Path]) -> Iterator[_Place]:
        for number, shard in enumerate(shards):
            for index in range(self._count(shard)):
                yield number, index

    def _count(self, shard: Path) -> int:
        if shard not in self._counts:
            self._counts[shard] = sum(1 for _ in _samples(shard, contents=False))
        return self._counts[shard]

    def _picture(self, shard: Path, sample: dict[str, Any]) -> CaptionedPicture:
        suffix = next(each for each in _PICTURES if each in sample)
        name = f"{shard}: {sample['__key__']}.{suffix}"
        return CaptionedPicture(name, sample[suffix], self._captions(sample, name))

    def _captions(self, sample: dict[str, Any], name: str) -> tuple[str, ...]:
        try:
            if "txt" in sample and self.caption_column is None:
                return as_captions(sample["txt"].decode("utf-8"), name)
            values = parse_json(sample["json"]) if "json" in sample else {}
        except DataError:
            raise
        except ValueError as error:
            raise DataError(f"{name}: its caption cannot be read ({error}); mend it") from error
        keys = CAPTION_NAMES if self.caption_column is None else (self.caption_column,)
        for key in keys:
            if isinstance(values, dict) and key in values:
                return as_captions(values[key], name)
        where = f"a .json with '{' or '.join(keys)}'"
        wanted = where if self.caption_column else f"a .txt or {where}"
        raise DataError(f"{name}: has no caption; add {wanted}, or set caption_column")


class _Shuffled:
    """Places drawn from a buffer that is filled in order; nothing is read for them."""

    def __init__(self, places: Iterator[_Place], size: int, draw: random.Random) -> None:
        self.waiting: list[_Place] = []
        self.last: _Place = (-1, -1)  # that went into the buffer
        self._places = places
        self._size = size
        self._draw = draw

    def __iter__(self) -> _Shuffled:
        return self

    def __next__(self) -> _Place:
        for place in itertools.islice(self._places, self._size - len(self.waiting)):
            self.waiting.append(place)
            self.last = place
        if not self.waiting:
            raise StopIteration
        chosen = self._draw.randrange(len(self.waiting))
        self.waiting[chosen], self.waiting[-1] = self.waiting[-1], self.waiting[chosen]
        return self.waiting.pop()


def _shards(source: str) -> list[Path]:
    folder = Path(source)
    if folder.is_dir():
        return sorted(folder.glob("*.tar"))
    try:
        shards = [Path(name) for name in webdataset().braceexpand.braceexpand(source)]
    except ValueError as error:  # unbalanced braces
        raise DataError(f"{source}: is no brace pattern ({error}); correct it") from error
    for shard in shards:
        if not shard.is_file():
            raise DataError(f"{shard}: no such file; correct the pattern '{source}' or restore it")
    return shards


def _samples_from(shards: Sequence[Path], first: int) -> Iterator[tuple[_Place, dict[str, Any]]]:
    for number in range(first, len(shards)):
        for index, sample in enumerate(_samples(shards[number], contents=True)):
            yield (number, index), sample


def _samples(shard: Path, *, contents: bool) -> Iterator[dict[str, Any]]:
    """Samples that have a picture: by suffix the contents, or the sizes, of headers alone."""
    try:
        for sample in webdataset().group_by_keys(_files(shard, contents)):
            if any(suffix in sample for suffix in _PICTURES):
                yield sample
    except DataError:
        raise
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        reason = error.args[0] if error.args else type(error).__name__
        raise DataError(
            f"{shard}: cannot be read as a tar shard ({reason}); fetch or pack it again"
        ) from error


def _files(shard: Path, contents: bool) -> Iterator[dict[str, Any]]:
    with tarfile.open(shard, "r:") as archive:
        for member in archive:
            if member.issparse() or member.size > _LARGEST:
                # A sparse file of a few bytes may fill the memory.
                raise DataError(
                    f"{shard}: holds '{member.name}' of {member.size} bytes, which is no picture "
                    "and no caption; pack it again without"
                )
            file = archive.extractfile(member) if member.isreg() else None
            if file is not None:
                data = file.read() if contents else str(member.size).encode()
                yield {"fname": member.name, "data": data, "__url__": shard.name}
