"""Sample pictures in a run folder: one PNG each, and a JSON file that says what they show."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torchvision.io import ImageReadMode, decode_image
from torchvision.utils import save_image

from experiments.report.data import SampleSet, picture_name
from latency_tables.parsing import parse_json
from search.state import write_atomically

_INDEX = "samples.json"


def save_samples(folder: Path, sets: Sequence[SampleSet]) -> None:
    """Write ``TITLE-00.png`` and so on, then ``samples.json``."""
    _write(folder, [], sets)


def add_samples(folder: Path, samples: SampleSet) -> None:
    """Write a set behind those that are there."""
    _write(folder, _index(folder), [samples])


def load_samples(folder: Path) -> tuple[SampleSet, ...]:
    """The inverse of :func:`save_samples`; nothing where there are no samples yet.

    Raises:
        ValueError: if the list of them is damaged, or one is missing.
    """
    try:
        return tuple(_load(folder, **entry) for entry in _index(folder))
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{folder / _INDEX}: damaged ({reason}); delete {folder}, or run it again"
        ) from error


def sample_titles(folder: Path) -> tuple[str, ...]:
    """Of the sets that are there, without their pictures."""
    return tuple(entry["title"] for entry in _index(folder))


def _index(folder: Path) -> list[dict[str, Any]]:
    path = folder / _INDEX
    return list(parse_json(path.read_text(encoding="utf-8"))) if path.exists() else []


def _write(folder: Path, entries: list[dict[str, Any]], sets: Sequence[SampleSet]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for samples in sets:
        for i, image in enumerate(samples.images):
            save_image(image, folder / picture_name(samples.title, i))
    own = [{"title": s.title, "captions": s.captions, "clip_scores": s.clip_scores} for s in sets]
    write_atomically(folder / _INDEX, json.dumps([*entries, *own], indent=1) + "\n")


def _load(folder: Path, title: str, captions: list[str], clip_scores: list[float]) -> SampleSet:
    if not isinstance(title, str) or Path(title).name != title:
        raise ValueError(f"{title!r} is no title")  # nor a way out of the folder
    if not all(isinstance(text, str) for text in captions) or len(clip_scores) != len(captions):
        raise ValueError(f"{title}: captions and scores do not fit")
    images = [
        decode_image(str(folder / picture_name(title, i)), mode=ImageReadMode.RGB)
        for i in range(len(captions))
    ]
    return SampleSet(
        title, torch.stack(images).float() / 255, tuple(captions), tuple(map(float, clip_scores))
    )
