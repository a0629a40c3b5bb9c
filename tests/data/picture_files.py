"""Captioned pictures in every format: picture ``i`` is filled with a grey of ``5 i``."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path

import datasets
from PIL import Image

from experiments.data.opening import open_source
from experiments.data.picture import decode
from experiments.data.settings import ReadingSettings
from experiments.data.source import Source, Unread

COUNT = 11  # pictures of every source


def caption(number: int) -> str:
    return f"picture {number}"


def encoded(number: int, file_format: str = "PNG", size: tuple[int, int] = (8, 8)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (number * 5,) * 3).save(file, file_format)
    return file.getvalue()


def sparse_tar(path: Path, name: str, size: int) -> Path:
    """A tar of some blocks with a file that grows to any size when it is read: zeros."""
    member = tarfile.TarInfo(name)
    member.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": name,
        "GNU.sparse.realsize": str(size),
    }
    content = b"1\n0\n1\n".ljust(512, b"\0") + b"x"
    member.size = len(content)
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(member, io.BytesIO(content))
    return path


def write(folder: Path, files: Mapping[str, bytes | str]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def pictures(count: int = COUNT) -> dict[str, bytes | str]:
    return {f"p{number:02}.png": encoded(number) for number in range(count)}


def jsonl(folder: Path, count: int = COUNT) -> Path:
    lines = (
        json.dumps({"file_name": f"p{number:02}.png", "text": caption(number)}) + "\n"
        for number in reversed(range(count))
    )
    return write(folder, pictures(count) | {"metadata.jsonl": "".join(lines)})


def table(folder: Path, count: int = COUNT) -> Path:
    file = io.StringIO()
    writer = csv.DictWriter(file, ["caption", "file_name"])
    writer.writeheader()
    for number in range(count):
        writer.writerow({"file_name": f"p{number:02}.png", "caption": caption(number)})
    return write(folder, pictures(count) | {"metadata.csv": file.getvalue()})


def pairs(folder: Path, count: int = COUNT) -> Path:
    texts = {f"p{number:02}.txt": caption(number) + "\n" for number in range(count)}
    named = {f"some/{name}": value for name, value in (pictures(count) | texts).items()}
    return write(folder, named)


def saved_dataset(folder: Path, count: int = COUNT) -> Path:
    rows = {
        "number": list(range(count)),
        "picture": [{"bytes": encoded(number), "path": None} for number in range(count)],
        "says": [caption(number) for number in range(count)],
    }
    features = datasets.Features(
        number=datasets.Value("int64"), picture=datasets.Image(), says=datasets.Value("string")
    )
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(folder))
    return folder


def tar(path: Path, files: Iterable[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def sample(number: int) -> list[tuple[str, bytes]]:
    """Captions of odd ones in JSON."""
    if number % 2:
        text = ("json", json.dumps({"caption": caption(number), "width": 8}))
    else:
        text = ("txt", caption(number))
    name = f"{number:05}"
    return [(f"{name}.png", encoded(number)), (f"{name}.{text[0]}", text[1].encode())]


def shards(folder: Path, counts: Iterable[int] = (4, 1, 6)) -> Path:
    numbers = iter(range(10_000))
    for shard, count in enumerate(counts):
        files = [file for number in islice(numbers, count) for file in sample(number)]
        tar(folder / f"{shard:03}.tar", files)
    return folder


def pattern(folder: Path) -> str:
    return f"{shards(folder)}/{{000..002}}.tar"


FORMATS: dict[str, Callable[[Path], Path | str]] = {
    "jsonl": jsonl,
    "csv": table,
    "pairs": pairs,
    "dataset": saved_dataset,
    "shards": shards,
    "pattern": pattern,
}


def opened(data: Path | str, **reading: object) -> Source:
    settings = {"shuffle_buffer": 3} | reading
    return open_source(str(data), ReadingSettings.model_validate(settings))


def numbers(unread: Iterable[Unread]) -> list[int]:
    """Which pictures they are; their captions have to say the same."""
    found = []
    for read in unread:
        picture = read()
        red, _, _ = decode(picture).getpixel((3, 3))
        assert picture.captions == (caption(red // 5),)
        found.append(red // 5)
    return found
