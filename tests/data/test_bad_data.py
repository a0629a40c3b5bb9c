"""Training data that cannot be used is told in one line that names the file and the fix."""

from __future__ import annotations

import json
import struct
import sys
import tarfile
import zlib
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import pytest
from picture_files import (
    encoded,
    jsonl,
    opened,
    pairs,
    saved_dataset,
    shards,
    sparse_tar,
    tar,
    write,
)

from experiments.data.opening import open_data
from experiments.data.picture import decode
from experiments.data.settings import ReadingSettings
from experiments.data.source import DataError


def refused(data: Path | str, **reading: object) -> str:
    """What is said when the source is opened or, at the latest, read."""
    with pytest.raises(DataError) as error:
        _ = [read() for read in opened(data, **reading).in_order()]
    message = str(error.value)
    assert "\n" not in message
    return message


def test_a_folder_that_is_missing_or_holds_nothing_of_use(tmp_path: Path) -> None:
    assert "nowhere: no such folder" in refused(tmp_path / "nowhere")
    write(tmp_path / "bare", {"a.png": encoded(1)})
    message = refused(tmp_path / "bare")
    for looked_for in ("evounet-cache.json", "state.json", ".tar", "metadata.jsonl", ".txt"):
        assert looked_for in message


def test_metadata_without_captions_or_pictures(tmp_path: Path) -> None:
    def metadata(name: str, text: str) -> Path:
        file = "metadata.csv" if name.startswith("csv") else "metadata.jsonl"
        return write(tmp_path / name, {"a.png": encoded(1), file: text})

    named = '{"file_name": "a.png"'
    assert "metadata.jsonl, line 1: has no 'text or caption'" in refused(
        metadata("none", named + ', "label": 3}')
    )
    assert "caption_column" in refused(metadata("other", named + ', "t": "x"}'))
    assert "has no 'long'" in refused(
        metadata("asked", named + ', "text": "x"}'), caption_column="long"
    )
    assert "line 2: there is no picture" in refused(
        metadata("gone", named + ', "text": "x"}\n{"file_name": "b.png", "text": "x"}')
    )
    assert "line 1: is no JSON" in refused(metadata("broken", named))
    assert "line 1: has no caption" in refused(metadata("null", named + ', "text": null}'))
    assert "caption 3 is no text" in refused(metadata("number", named + ', "text": [3]}'))
    assert "metadata.jsonl: lists no picture" in refused(metadata("empty", "\n"))
    assert "line 2: has no 'file_name'" in refused(metadata("csv", "name,text\na.png,x\n"))


def test_pictures_without_their_text(tmp_path: Path) -> None:
    folder = pairs(tmp_path)
    text = folder / "some" / "p03.txt"
    text.write_bytes(b"\xff\xfe\xff")
    assert "p03.txt: is no UTF-8 text" in refused(folder)
    text.unlink()
    assert "p03.png: has no caption; add 'p03.txt'" in refused(folder)


def test_saved_datasets_with_other_columns(tmp_path: Path) -> None:
    folder = saved_dataset(tmp_path / "good")
    assert "no fitting column 'nope', only number, picture, says" in refused(
        folder, caption_column="nope"
    )
    assert "set image_column to picture" in refused(folder, image_column="says")

    def saved(name: str, **columns: list[Any]) -> Path:
        kinds = {"picture": datasets.Image(), "number": datasets.Value("int64")}
        features = datasets.Features(
            {column: kinds.get(column, datasets.Value("string")) for column in columns}
        )
        whole = datasets.Dataset.from_dict(columns, features=features)
        whole.save_to_disk(str(tmp_path / name))
        return tmp_path / name

    picture = {"bytes": encoded(1), "path": None}
    assert "image_column is not clear, none" in refused(saved("texts", text=["x"]))
    assert "caption_column is not clear, none" in refused(
        saved("wordless", picture=[picture], number=[1])
    )
    assert "several (one, two)" in refused(saved("many", picture=[picture], one=["1"], two=["2"]))
    assert "row 1: has no caption" in refused(
        saved("gaps", picture=[picture] * 2, text=["x", None])
    )
    assert "row 0: holds no picture" in refused(saved("blind", picture=[None], text=["x"]))


def test_saved_datasets_that_are_damaged_or_have_splits(tmp_path: Path) -> None:
    both = datasets.DatasetDict(
        train=datasets.Dataset.from_dict({"text": ["x"]}),
        test=datasets.Dataset.from_dict({"text": ["x"]}),
    )
    both.save_to_disk(str(tmp_path / "splits"))
    assert f"name one of them: {tmp_path / 'splits' / 'train'} or" in refused(tmp_path / "splits")
    folder = saved_dataset(tmp_path / "cut")
    [arrow] = folder.glob("*.arrow")
    arrow.write_bytes(arrow.read_bytes()[:300])
    assert f"{folder}: cannot be read as a saved dataset" in refused(folder)


def test_shards_that_are_missing_broken_or_cut_short(tmp_path: Path) -> None:
    folder = shards(tmp_path / "shards")
    assert "003.tar: no such file" in refused(f"{folder}/{{000..003}}.tar")
    assert "no brace pattern" in refused(f"{folder}/{{000..003.tar")
    whole = (folder / "002.tar").read_bytes()
    (folder / "002.tar").write_bytes(whole[: 512 + 30])
    assert "002.tar: cannot be read as a tar shard (unexpected end of data)" in refused(folder)
    (folder / "002.tar").write_bytes(b"no archive" * 100)
    assert "002.tar: cannot be read as a tar shard" in refused(folder)


def test_samples_of_shards_without_captions(tmp_path: Path) -> None:
    def packed(name: str, *files: tuple[str, bytes]) -> str:
        return refused(tar(tmp_path / f"{name}.tar", [("1.png", encoded(1)), *files]))

    assert "bare.tar: 1.png: has no caption; add a .txt" in packed("bare")
    assert "other.tar: 1.png: has no caption" in packed("other", ("1.json", b'{"alt": "x"}'))
    assert "broken.tar: 1.png: its caption cannot be read" in packed("broken", ("1.json", b"{"))
    assert "twice.tar: cannot be read as a tar shard (1.png: dupl" in packed(
        "twice", ("1.png", encoded(1))
    )
    assert "holds no picture" in refused(tar(tmp_path / "words.tar", [("1.txt", b"x")]))


def test_shards_that_would_fill_the_memory(tmp_path: Path) -> None:
    path = sparse_tar(tmp_path / "bomb.tar", "1.png", 2**45)
    assert path.stat().st_size < 2**15
    assert f"bomb.tar: holds '1.png' of {2**45} bytes, which is no picture" in refused(path)
    member = tarfile.TarInfo("1.png")
    member.size = 2**31
    (tmp_path / "huge.tar").write_bytes(member.tobuf() + bytes(1024))
    assert "huge.tar: holds '1.png' of 2147483648 bytes" in refused(tmp_path / "huge.tar")


def test_pictures_that_would_fill_the_memory(tmp_path: Path) -> None:
    """Pillow refuses them by their header."""
    header = struct.pack(">IIBBBBB", 2**17, 2**17, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n"
    for kind, content in ((b"IHDR", header), (b"IDAT", b"")):
        bomb += struct.pack(">I", len(content)) + kind + content
        bomb += struct.pack(">I", zlib.crc32(kind + content))
    folder = write(tmp_path, {"a.png": bomb, "a.txt": "x"})
    with pytest.raises(
        DataError, match=r"a\.png: cannot be read as a picture .*decompression bomb"
    ):
        [decode(read()) for read in opened(folder).in_order()]


def test_metadata_that_leads_out_of_its_folder_or_is_nested_without_end(tmp_path: Path) -> None:
    write(tmp_path, {"secret.png": encoded(1)})
    for number, name in enumerate(("../secret.png", str(tmp_path / "secret.png"))):
        line = json.dumps({"file_name": name, "text": "x"})
        folder = write(tmp_path / str(number), {"metadata.jsonl": line})
        assert f"line 1: file_name '{name}' leads out of the folder" in refused(folder)
    folder = write(tmp_path / "deep", {"metadata.jsonl": "[" * 100_000})
    assert "line 1: is no JSON (it is nested too deep)" in refused(folder)


@pytest.mark.parametrize("make", [jsonl, saved_dataset, shards])
def test_fewer_pictures_than_one_batch(tmp_path: Path, sd: Any, make: Any) -> None:
    data = open_data(str(make(tmp_path / "data")), sd, ReadingSettings())
    data.batches(11, 0, 0.1)
    for use in (lambda: data.check(12), lambda: data.batches(12, 0, 0.1)):
        with pytest.raises(DataError, match="has 11 captioned pictures, fewer than one batch of"):
            use()


@pytest.mark.parametrize(("library", "make"), [("datasets", saved_dataset), ("webdataset", shards)])
def test_a_library_that_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, make: Any
) -> None:
    data = make(tmp_path / "data")
    for name in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.setitem(sys.modules, name, None)
    assert f"{library} is not installed" in (message := refused(data))
    assert "pip install evounet[data]" in message


def test_what_comes_before_a_broken_shard_can_be_used(tmp_path: Path) -> None:
    folder = shards(tmp_path, [3, 3])
    (folder / "001.tar").write_bytes(b"")
    assert len(list(islice(opened(folder).in_order(), 3))) == 3
    assert "001.tar" in refused(folder)
