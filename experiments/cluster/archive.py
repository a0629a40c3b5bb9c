"""A run folder as lines of text, as a job prints them, and back.

A job's log is all that the Ray Jobs API hands out. So a folder travels through one: as a tar, in
base64, a line at a time between marks that tell its lines from everything else in the log.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import shutil
import sqlite3
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, TextIO, TypeVar

from latency_tables.parsing import parse_json

_Decoded = TypeVar("_Decoded")

# Folders of what only a run that goes on needs: weights after every round, a decoder's pairs.
_FOR_GOING_ON = {"checkpoints", "pairs", "comparison-pairs"}

_MARK = "evounet-archive "
# Of the tar, in bytes: a multiple of 3, so that lines join without padding, and of tar's 512.
_LINE = 48 * 1024


class ArchiveError(ValueError):
    """An archive that is incomplete, or holds what no run folder does."""


def pack(folder: Path, out: TextIO, checkpoints: bool = True) -> None:
    """Write a run folder as lines, while the run may go on.

    Every file of a run is replaced atomically or grows at its end, but for the database of
    evaluations, which SQLite copies. Hidden files, such as the lock, stay.

    Args:
        folder: of the run.
        out: where the lines go.
        checkpoints: whether what only a resume needs goes too, at any depth.

    Raises:
        ArchiveError: if this is no run folder.
    """
    if not (folder / "experiment.toml").exists():
        raise ArchiveError(f"{folder}: is no run folder (it has no experiment.toml)")
    names = [
        name
        for name in sorted(path.relative_to(folder) for path in folder.rglob("*"))
        if not any(part.startswith(".") for part in name.parts)
        and (checkpoints or _FOR_GOING_ON.isdisjoint(name.parts))
    ]
    sizes = [os.path.getsize(folder / name) for name in names if (folder / name).is_file()]
    lines = _Lines(out)
    lines.say({"bytes": sum(sizes)})
    with tarfile.open(fileobj=lines, mode="w|", bufsize=_LINE) as tar:
        for name in names:
            if name.suffix == ".db":
                _add_database(tar, folder / name, str(name))
            elif (folder / name).is_file():
                _add(tar, folder / name, str(name))
    lines.say({"sha256": lines.digest.hexdigest()})


def _add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    # Opened before it is measured, as another file may take its place at any moment; and a
    # training's state goes when the next one is done.
    with suppress(FileNotFoundError), path.open("rb") as file:
        tar.addfile(tar.gettarinfo(arcname=name, fileobj=file), file)


def _add_database(tar: tarfile.TarFile, path: Path, name: str) -> None:
    with TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        _add(tar, copy, name)


class _Lines(io.RawIOBase):
    """A file that a tar is written to; every write becomes a line."""

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.digest = hashlib.sha256()

    def say(self, value: dict[str, object]) -> None:
        self.out.write(f"{_MARK}{json.dumps(value)}\n")
        self.out.flush()

    def write(self, data: Any) -> int:
        block = bytes(data)
        self.digest.update(block)
        self.out.write(f"{_MARK}{base64.b64encode(block).decode()}\n")
        return len(block)


class Receiver:
    """Puts a tar together from the text of a log, as it comes, in pieces cut anywhere.

    Args:
        tar: where it is written.

    Attributes:
        expected: bytes of the files that are to come; 0 until this is known.
        received: bytes of the tar so far.
    """

    def __init__(self, tar: BinaryIO) -> None:
        self.expected = 0
        self.received = 0
        self._tar = tar
        self._digest = hashlib.sha256()
        self._rest = ""
        self._end: str | None = None

    def feed(self, text: str) -> None:
        """Take the text that follows."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            _, mark, content = line.partition(_MARK)
            if mark and content.startswith("{"):
                value = _decoded(parse_json, content)
                self.expected = value.get("bytes", self.expected)
                self._end = value.get("sha256", self._end)
            elif mark:
                block = _decoded(base64.b64decode, content)
                self._tar.write(block)
                self._digest.update(block)
                self.received += len(block)

    def check(self) -> None:
        """Make sure that all has come.

        Raises:
            ArchiveError: if the end is missing, or what came is not what was sent.
        """
        if self._end != self._digest.hexdigest():
            raise ArchiveError(
                f"the run folder came incompletely ({self.received} bytes); fetch it once more"
            )


def unpack(tar: Path, folder: Path) -> None:
    """Write the files of a tar into a folder.

    Raises:
        ArchiveError: if it holds anything but files with paths inside of the folder; of those
            that come before it some are written.
    """
    with tarfile.open(tar, "r:") as opened:
        for member in _files(opened):
            place = folder / member.name
            place.parent.mkdir(parents=True, exist_ok=True)
            content = opened.extractfile(member)
            assert content is not None, "a regular file has content"
            with content, place.open("wb") as file:
                shutil.copyfileobj(content, file)


def _files(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for member in tar:
        path = PurePosixPath(member.name)
        inside = not path.is_absolute() and ".." not in path.parts
        # A sparse file of a few bytes may fill a disk.
        if not member.isreg() or member.issparse() or not inside:
            raise ArchiveError(
                f"the archive holds '{member.name}', which is no file inside of a run folder; "
                "do not trust the cluster that it came from"
            )
        yield member


def _decoded(decode: Callable[[str], _Decoded], content: str) -> _Decoded:
    """What a marked line says.

    Raises:
        ArchiveError: if it was changed on its way.
    """
    try:
        return decode(content)
    except ValueError as error:
        raise ArchiveError(f"the run folder came damaged ({error}); fetch it once more") from error
