"""Sample pictures in a run folder: one PNG each, and a JSON file that says what they show."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torchvision.io import ImageReadMode, decode_image
from torchvision.utils import save_image

from experiments.report.data import SampleSet
from search.state import write_atomically

_INDEX = "samples.json"


def save_samples(folder: Path, sets: Sequence[SampleSet]) -> None:
    """Write ``TITLE-00.png`` and so on, then ``samples.json``."""
    folder.mkdir(exist_ok=True)
    for samples in sets:
        for i, image in enumerate(samples.images):
            save_image(image, folder / sample_name(samples.title, i))
    index = [{"title": s.title, "captions": s.captions, "clip_scores": s.clip_scores} for s in sets]
    write_atomically(folder / _INDEX, json.dumps(index, indent=1) + "\n")


def load_samples(folder: Path) -> tuple[SampleSet, ...]:
    """The inverse of :func:`save_samples`; nothing where there are no samples yet.

    Raises:
        ValueError: if the list of them is damaged, or one is missing.
    """
    path = folder / _INDEX
    if not path.exists():
        return ()
    try:
        return tuple(_load(folder, **entry) for entry in json.loads(path.read_text()))
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: damaged ({reason}); delete {folder}, or run it again") from error


def _load(folder: Path, title: str, captions: list[str], clip_scores: list[float]) -> SampleSet:
    if not isinstance(title, str) or Path(title).name != title:
        raise ValueError(f"{title!r} is no title")  # nor a way out of the folder
    if not all(isinstance(text, str) for text in captions) or len(clip_scores) != len(captions):
        raise ValueError(f"{title}: captions and scores do not fit")
    images = [
        decode_image(str(folder / sample_name(title, i)), mode=ImageReadMode.RGB)
        for i in range(len(captions))
    ]
    return SampleSet(
        title, torch.stack(images).float() / 255, tuple(captions), tuple(map(float, clip_scores))
    )


def sample_name(title: str, i: int) -> str:
    """The file of a set's picture ``i``."""
    return f"{title}-{i:02d}.png"
