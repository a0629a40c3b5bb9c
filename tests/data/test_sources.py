"""Every kind of source: pictures with their captions, in an order that the seed fixes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_files import (
    COUNT,
    FORMATS,
    encoded,
    numbers,
    opened,
    sample,
    saved_dataset,
    shards,
    tar,
    write,
)

from experiments.data import tar_shards
from experiments.data.source import Source


@pytest.fixture(scope="module", params=FORMATS)
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Source:
    return opened(FORMATS[request.param](tmp_path_factory.mktemp("data") / "pictures"))


def taken(source: Source, seed: int, start: int, count: int) -> list[int]:
    return numbers(islice(source.shuffled(seed, start), count))


def test_captions_stay_with_their_pictures(source: Source) -> None:
    assert len(source) == COUNT
    assert sorted(numbers(source.in_order())) == list(range(COUNT))
    assert numbers(source.in_order(4)) == numbers(source.in_order())[4:]


def test_an_epoch_has_every_picture_once_in_an_order_of_its_own(source: Source) -> None:
    drawn = taken(source, 5, 0, 3 * COUNT)
    epochs = [drawn[start : start + COUNT] for start in range(0, 3 * COUNT, COUNT)]
    assert all(sorted(epoch) == list(range(COUNT)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert taken(source, 5, 0, 3 * COUNT) == drawn
    assert taken(source, 6, 0, COUNT) != epochs[0]


def test_a_start_in_mid_stream_goes_on_at_the_same_picture(source: Source) -> None:
    drawn = taken(source, 1, 0, 3 * COUNT)
    for start in range(2 * COUNT + 2):
        assert taken(source, 1, start, 6) == drawn[start : start + 6]


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_shards_and_buffer_go_on_in_mid_stream(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    counts = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=4).filter(any))
    folder = shards(tmp_path_factory.mktemp("any") / "shards", counts)
    source = opened(folder, shuffle_buffer=data.draw(st.integers(1, 30)))
    total = sum(counts)
    drawn = taken(source, 3, 0, 2 * total)
    assert sorted(drawn[:total]) == sorted(drawn[total:]) == list(range(total))
    start = data.draw(st.integers(0, 2 * total))
    assert taken(source, 3, start, 2 * total - start) == drawn[start:]


def test_tar_shards_are_read_as_they_are_used_and_never_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    files = tar_shards._files

    def watched(shard: Path, contents: bool) -> Iterator[dict[str, Any]]:
        for file in files(shard, contents):
            if contents:
                read.append(f"{shard.stem}/{file['fname']}")
            yield file

    monkeypatch.setattr(tar_shards, "_files", watched)
    source = opened(shards(tmp_path, [10, 10, 10, 10]), shuffle_buffer=4)
    read.clear()
    numbers(islice(source.shuffled(0), 3))
    assert len(read) <= 2 * (3 + 4)  # samples taken and those that may wait
    first = read[0]
    read.clear()
    numbers(islice(source.shuffled(0, 36), 4))
    assert len({file.partition("/")[0] for file in read}) <= 2
    assert first not in read


def test_a_list_of_captions_is_kept_whole(tmp_path: Path) -> None:
    captions = [f"one of {number}" for number in range(3)]
    line = json.dumps({"file_name": "a.png", "caption": captions})
    folder = write(tmp_path / "folder", {"a.png": encoded(1), "metadata.jsonl": line})
    rows = {"image": [{"bytes": encoded(1), "path": None}], "captions": [captions]}
    features = datasets.Features(
        image=datasets.Image(), captions=datasets.Sequence(datasets.Value("string"))
    )
    saved = tmp_path / "saved"
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(saved))
    packed = [("a.png", encoded(1)), ("a.json", json.dumps({"text": captions}).encode())]
    shard = tar(tmp_path / "a.tar", packed)
    for data in (folder, saved, shard):
        [read] = opened(data).in_order()
        assert read().captions == tuple(captions)


def test_columns_are_those_asked_for(tmp_path: Path) -> None:
    row = {"text": "usual", "long": "asked for"}
    line = json.dumps({"file_name": "a.png", **row})
    folder = write(tmp_path / "folder", {"a.png": encoded(1), "metadata.jsonl": line})
    image = {"bytes": encoded(1), "path": None}
    other = {"bytes": encoded(2), "path": None}
    columns = {"image": [image], "other": [other], **{key: [row[key]] for key in row}}
    features = datasets.Features(
        image=datasets.Image(),
        other=datasets.Image(),
        text=datasets.Value("string"),
        long=datasets.Value("string"),
    )
    saved = tmp_path / "saved"
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(str(saved))
    packed = [("a.png", encoded(1)), ("a.json", json.dumps(row).encode()), ("a.txt", b"usual")]
    shard = tar(tmp_path / "a.tar", packed)
    for data in (folder, saved, shard):
        for asked, caption in (({"caption_column": "long"}, "asked for"), ({}, "usual")):
            [read] = opened(data, image_column="other", **asked).in_order()
            picture = read()
            assert picture.captions == (caption,)
            assert picture.encoded == encoded(2 if data == saved else 1)


def test_samples_of_tar_shards_may_lie_in_folders_and_lack_pictures(tmp_path: Path) -> None:
    files = [("x/1.png", encoded(1)), ("x/1.txt", b"picture 1"), ("x/2.json", b"{}")]
    shard = tar(tmp_path / "a.tar", [*files, *sample(3)])
    assert numbers(opened(shard).in_order()) == [1, 3]


@pytest.mark.parametrize("name", FORMATS)
def test_a_digest_tells_a_changed_source(tmp_path: Path, name: str) -> None:
    data = FORMATS[name](tmp_path / "pictures")
    before = opened(data).digest
    assert opened(data).digest == before
    if name == "dataset":
        data = saved_dataset(tmp_path / "other", COUNT - 1)
    elif name in ("shards", "pattern"):
        shards(tmp_path / "pictures", (4, 2, 5))
    else:
        for file in (tmp_path / "pictures").rglob("*"):
            if file.suffix in (".jsonl", ".csv", ".txt"):
                file.write_text(file.read_text().replace("picture 3", "another"))
    assert opened(data).digest != before
