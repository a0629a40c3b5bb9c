"""What every source of captioned pictures can do, and the order in which a training uses them."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

CAPTION_NAMES = ("text", "caption")  # of columns and keys, the first that is there


class DataError(ValueError):
    """Training data that cannot be used; the message names the file and the fix."""


@dataclass(frozen=True)
class CaptionedPicture:
    """A picture as it was stored, and what it is called.

    Attributes:
        name: tells people which one it is: a file, or a row of one.
        encoded: the bytes of a JPEG, PNG or WebP file.
        captions: one or more; a training draws one per use.
    """

    name: str
    encoded: bytes
    captions: tuple[str, ...]


# Reads a picture when called: a worker passes over the rows of others without reading them.
Unread = Callable[[], CaptionedPicture]


class Source(Protocol):
    """Captioned pictures in two orders. All sources raise :class:`DataError` for bad input."""

    def __len__(self) -> int: ...

    @property
    def digest(self) -> str:
        """Tells this source from others and from what it was before it changed."""
        ...

    def in_order(self, start: int = 0) -> Iterator[Unread]:
        """Every picture once, in the order they are stored in, from number ``start`` on."""
        ...

    def shuffled(self, seed: int, start: int = 0) -> Iterator[Unread]:
        """Epoch after epoch without end, each in an order of its own; passes over ``start``."""
        ...


class EpochOrder:
    """Which of ``count`` rows comes at every position of endless epochs; fixed by the seed."""

    def __init__(self, count: int, seed: int) -> None:
        self.count = count
        self.seed = seed
        self._epoch = -1
        self._rows = np.empty(0, dtype=np.int64)

    def __getitem__(self, position: int) -> int:
        epoch, place = divmod(position, self.count)
        if epoch != self._epoch:
            self._epoch = epoch
            self._rows = np.random.default_rng((self.seed, epoch)).permutation(self.count)
        return int(self._rows[place])


class IndexedSource(ABC):
    """A source that reads any of its pictures by number."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> CaptionedPicture: ...

    def in_order(self, start: int = 0) -> Iterator[Unread]:
        return (partial(self.__getitem__, index) for index in range(start, len(self)))

    def shuffled(self, seed: int, start: int = 0) -> Iterator[Unread]:
        order = EpochOrder(len(self), seed)
        return (partial(self.__getitem__, order[place]) for place in itertools.count(start))


def as_captions(value: Any, name: str) -> tuple[str, ...]:
    """The captions of one picture from a text or a list of texts.

    Raises:
        DataError: naming the picture, if there is no caption.
    """
    captions = (value,) if isinstance(value, str) else value
    if not isinstance(captions, tuple | list) or not captions:
        raise DataError(f"{name}: has no caption; add one, or take the picture away")
    for caption in captions:
        if not isinstance(caption, str):
            raise DataError(f"{name}: caption {caption!r} is no text; write it as one")
    return tuple(caption.strip() for caption in captions)


def check_enough(source: Source, batch_size: int, name: str) -> None:
    """Refuse a source that has not one whole batch; reads no more than that.

    Raises:
        DataError: naming the source.
    """
    count = sum(1 for _ in itertools.islice(source.in_order(), batch_size))
    if count < batch_size:
        raise DataError(
            f"{name}: has {count} captioned pictures, fewer than one batch of {batch_size}; "
            "add pictures or lower batch_size"
        )
