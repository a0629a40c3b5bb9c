"""Which kind of training data a path names, found by what is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from experiments.data.batches import PictureData
from experiments.data.cache import CachedData
from experiments.data.cache_index import INDEX
from experiments.data.encoder import PipelineEncoder
from experiments.data.folder import METADATA, PictureFolder, has_pairs
from experiments.data.saved_dataset import SavedDataset
from experiments.data.settings import ReadingSettings
from experiments.data.source import DataError, Source
from experiments.data.tar_shards import TarShards
from supernet.batches import Batches

_SAVED = ("state.json", "dataset_dict.json")  # of a dataset, of one with several splits


class TrainingData(Protocol):
    """What a training draws its batches from."""

    def check(self, batch_size: int) -> None:
        """Hear early that there is not one whole batch.

        Raises:
            DataError: naming the data.
        """
        ...

    def batches(self, batch_size: int, seed: int, caption_dropout: float) -> Batches:
        """Batches, a function of (seed, step) alone.

        Args:
            batch_size: rows of a step.
            seed: fixes order, captions and which of them are dropped.
            caption_dropout: share of rows that are given the empty caption, in [0, 1).

        Raises:
            DataError: if there is not one whole batch.
        """
        ...


def open_data(name: str, pipeline: Any, reading: ReadingSettings) -> TrainingData:
    """The training data that a path names: a cache, or a source to be encoded at every step.

    Args:
        name: a folder, or a brace pattern of tar files.
        pipeline: encodes; it is the one that is trained.
        reading: what the source does not tell by itself.

    Raises:
        DataError: if there is no such data, or it cannot be used.
    """
    encoder = PipelineEncoder(pipeline)
    if (Path(name) / INDEX).exists():
        return CachedData(Path(name), encoder)
    return PictureData(name, open_source(name, reading), encoder)


def open_source(name: str, reading: ReadingSettings) -> Source:
    """The captioned pictures that a folder or a brace pattern names.

    Raises:
        DataError: naming what was looked for, if there are none.
    """
    folder = Path(name)
    if (folder / INDEX).exists():
        raise DataError(f"{name}: is a cache, which holds no pictures; give what it was made from")
    if name.endswith(".tar") and not folder.is_dir():
        return TarShards(name, reading.caption_column, reading.shuffle_buffer)
    if not folder.is_dir():
        raise DataError(
            f"{name}: no such folder; give one of captioned pictures, or a pattern of .tar files"
        )
    if any((folder / file).is_file() for file in _SAVED):
        return SavedDataset(folder, reading.image_column, reading.caption_column)
    if any(folder.glob("*.tar")):
        return TarShards(name, reading.caption_column, reading.shuffle_buffer)
    if any((folder / file).is_file() for file in METADATA) or has_pairs(folder):
        return PictureFolder(folder, reading.caption_column)
    raise DataError(
        f"{name}: holds no training data: no {INDEX} (a cache), no {_SAVED[0]} (a saved dataset), "
        f"no .tar files, no {' or '.join(METADATA)}, and no picture with a .txt file beside it"
    )
