"""Folders of pictures: with a metadata file, as Hugging Face's ``imagefolder``, or .txt files."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.data.source import (
    CAPTION_NAMES,
    CaptionedPicture,
    DataError,
    IndexedSource,
    as_captions,
)
from latency_tables.parsing import parse_json

METADATA = ("metadata.jsonl", "metadata.csv")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class _Entry:
    picture: Path
    captions: tuple[str, ...] | None  # None: in the .txt file beside it


class PictureFolder(IndexedSource):
    """Pictures of a folder with their captions.

    With ``metadata.jsonl`` or ``metadata.csv`` it is what that lists, by ``file_name``; without
    one, every picture below the folder, with a .txt file of the same name beside it.

    Raises:
        DataError: if metadata, a picture that it lists, or a picture's caption is missing.
    """

    def __init__(self, folder: Path, caption_column: str | None = None) -> None:
        self.folder = folder
        metadata = [folder / name for name in METADATA if (folder / name).is_file()]
        self._entries = (
            list(_listed(folder, metadata[0], caption_column)) if metadata else _paired(folder)
        )
        if not self._entries:
            listed = metadata[0] if metadata else folder
            raise DataError(f"{listed}: lists no picture; add a line with file_name and text each")

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> CaptionedPicture:
        entry = self._entries[index]
        return CaptionedPicture(str(entry.picture), _read(entry.picture), self._captions(entry))

    @property
    def digest(self) -> str:
        digest = hashlib.sha256()
        for entry in self._entries:
            name = entry.picture.relative_to(self.folder).as_posix()
            digest.update(json.dumps([name, *self._captions(entry)]).encode())
        return digest.hexdigest()[:12]

    def _captions(self, entry: _Entry) -> tuple[str, ...]:
        if entry.captions is not None:
            return entry.captions
        path = entry.picture.with_suffix(".txt")
        try:
            return (_read(path).decode("utf-8").strip(),)
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: is no UTF-8 text ({error}); save it as such") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); restore it") from error


def has_pairs(folder: Path) -> bool:
    """Whether some picture below the folder has a .txt file beside it."""
    return any(path.with_suffix(".txt").is_file() for path in _pictures(folder))


def _pictures(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def _paired(folder: Path) -> list[_Entry]:
    pictures = sorted(_pictures(folder))
    for picture in pictures:
        if not picture.with_suffix(".txt").is_file():
            raise DataError(
                f"{picture}: has no caption; add '{picture.stem}.txt', or take the picture away"
            )
    return [_Entry(picture, None) for picture in pictures]


def _listed(folder: Path, metadata: Path, caption_column: str | None) -> Iterator[_Entry]:
    column = caption_column
    for number, row in _rows(metadata):
        where = f"{metadata}, line {number}"
        column = column or next((name for name in CAPTION_NAMES if name in row), None)
        wanted = column or " or ".join(CAPTION_NAMES)
        for key in ("file_name", wanted):
            if key not in row:
                raise DataError(
                    f"{where}: has no '{key}', only {', '.join(map(repr, row)) or 'nothing'}; "
                    "add it" + (", or set caption_column" if key == wanted else "")
                )
        name = Path(str(row["file_name"]))
        picture = folder / name
        if name.is_absolute() or ".." in name.parts:
            raise DataError(
                f"{where}: file_name '{name}' leads out of the folder; write it relative to that"
            )
        if not os.path.isfile(picture):  # false for what no file can be called, too
            raise DataError(f"{where}: there is no picture {picture}; restore it or drop the line")
        yield _Entry(picture, as_captions(row[wanted], where))


def _rows(metadata: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and fields of every row."""
    try:
        with metadata.open(encoding="utf-8-sig", newline="") as file:
            if metadata.suffix == ".csv":
                reader = csv.DictReader(file)
                for row in reader:
                    yield reader.line_num, row
                return
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, _json_object(line, f"{metadata}, line {number}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{metadata}: cannot be read ({error}); write it anew") from error


def _json_object(line: str, where: str) -> dict[str, Any]:
    try:
        row = parse_json(line)
    except ValueError as error:
        raise DataError(f"{where}: is no JSON ({error}); mend it") from error
    if not isinstance(row, dict):
        raise DataError(f'{where}: write it as {{"file_name": ..., "text": ...}}')
    return row
