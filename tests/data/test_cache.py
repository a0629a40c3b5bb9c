"""A cache gives the batches of its source, and is finished by whoever calls again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from picture_files import COUNT, FORMATS, encoded, jsonl, opened, pairs, shards, write
from test_picture_batches import same
from tiny_pipelines import build_sd

from experiments.data.cache import CachedData
from experiments.data.cache_index import INDEX, Places, load_index
from experiments.data.cache_writer import CacheSettings, CacheWriter
from experiments.data.encoder import PipelineEncoder
from experiments.data.opening import open_data
from experiments.data.settings import ReadingSettings
from experiments.data.source import DataError
from supernet.checkpoint import load_tensors

EXACT = CacheSettings(batch_size=3, shard_size=4, precision="fp32")


class Killed(Exception):
    pass


def written(
    folder: Path,
    pipeline: Any,
    data: Path | str,
    settings: CacheSettings = EXACT,
    killed_after: int | None = None,
) -> list[int]:
    """Writes a cache; what its progress was."""
    source = opened(data)
    progress: list[int] = []

    def on_progress(done: int, figures: dict[str, float]) -> None:
        progress.append(done)
        if done == killed_after:
            raise Killed

    encoder = PipelineEncoder(pipeline)
    writer = CacheWriter(folder, "a pipeline", encoder, str(data), source, settings)
    writer.write(on_progress)
    return progress


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def refused(use: Callable[[], object]) -> str:
    with pytest.raises(DataError) as error:
        use()
    assert "\n" not in str(error.value)
    return str(error.value)


def several_captions(folder: Path) -> Path:
    """Some shared, some empty."""
    captions = (["a", "b"], ["b"], [""], ["c", "", "a"], ["d"], ["e", "b"], ["a"])
    lines = (
        json.dumps({"file_name": f"{number}.png", "text": texts})
        for number, texts in enumerate(captions)
    )
    files = {f"{i}.png": encoded(i, size=(8 + i, 9)) for i in range(len(captions))}
    return write(folder, files | {"metadata.jsonl": "\n".join(lines)})


@pytest.mark.parametrize("pipeline", ["sd", "xl"])
@pytest.mark.parametrize("make", [pairs, FORMATS["dataset"], several_captions])
def test_batches_of_a_cache_are_those_of_its_source(
    request: pytest.FixtureRequest, tmp_path: Path, pipeline: str, make: Callable[[Path], Path]
) -> None:
    loaded, data = request.getfixturevalue(pipeline), make(tmp_path / "data")
    written(tmp_path / "cache", loaded, data)
    from_source, cached = (
        open_data(str(folder), loaded, ReadingSettings()).batches(6, 3, 0.3)
        for folder in (data, tmp_path / "cache")
    )
    for step in (0, 1, 4, 2):
        for rows in (range(6), range(1, 6, 2)):
            same(cached(step, rows), from_source(step, rows))


def test_a_cache_of_tar_shards_holds_every_picture_once(tmp_path: Path, sd: Any) -> None:
    written(tmp_path / "cache", sd, shards(tmp_path / "shards"))
    written(tmp_path / "other", sd, pairs(tmp_path / "pairs"))
    one, other = (
        CachedData(tmp_path / name, PipelineEncoder(sd)).batches(COUNT, 0, 0)(2, range(COUNT))
        for name in ("cache", "other")
    )
    same(one, other)


def test_half_precision_is_close(tmp_path: Path, xl: Any) -> None:
    data = jsonl(tmp_path / "data")
    written(tmp_path / "cache", xl, data, CacheSettings())
    from_source, cached = (
        open_data(str(folder), xl, ReadingSettings()).batches(6, 3, 0.3)(0, range(6))
        for folder in (data, tmp_path / "cache")
    )
    assert cached.latents.dtype == cached.encoder_hidden_states.dtype == torch.float32
    assert (cached.latents - from_source.latents).abs().max() < 1e-3
    difference = cached.encoder_hidden_states - from_source.encoder_hidden_states
    assert difference.abs().max() < 2e-3


@pytest.mark.parametrize("killed_after", [3, 4, 7])
@pytest.mark.parametrize("make", [several_captions, shards])
def test_a_killed_run_goes_on_without_losing_or_doubling_a_picture(
    tmp_path: Path, sd: Any, make: Callable[[Path], Path], killed_after: int
) -> None:
    data = make(tmp_path / "data")
    total = written(tmp_path / "whole", sd, data)[-1]
    with pytest.raises(Killed):
        written(tmp_path / "cache", sd, data, killed_after=killed_after)
    done = load_index(tmp_path / "cache").pictures
    assert done <= killed_after
    assert "is unfinished" in refused(lambda: CachedData(tmp_path / "cache", PipelineEncoder(sd)))
    (tmp_path / "cache" / f"shard-{done // 4:05}.safetensors").write_bytes(b"half a shard")
    assert written(tmp_path / "cache", sd, data)[-1] == total - done
    assert contents(tmp_path / "cache") == contents(tmp_path / "whole")
    assert written(tmp_path / "cache", sd, data) == []
    assert contents(tmp_path / "cache") == contents(tmp_path / "whole")


def test_a_caption_is_encoded_once(tmp_path: Path, sd: Any) -> None:
    written(tmp_path / "cache", sd, several_captions(tmp_path / "data"))
    index = load_index(tmp_path / "cache")
    assert [(shard.pictures, shard.captions) for shard in index.shards] == [(4, 3), (3, 2)]
    tensors, _ = load_tensors(tmp_path / "cache" / index.shards[1].file)
    assert len(tensors["encoder_hidden_states"]) == 2


def test_a_cache_of_another_pipeline_is_refused(tmp_path: Path, sd: Any, xl: Any) -> None:
    written(tmp_path / "cache", sd, jsonl(tmp_path / "data"))

    def message(pipeline: Any) -> str:
        return refused(lambda: open_data(str(tmp_path / "cache"), pipeline, ReadingSettings()))

    larger = message(build_sd(sample_size=8))
    assert "has latents 4×4×4 of a pipeline, this pipeline needs 4×8×8" in larger
    assert "hidden states 24×16 of a pipeline, this pipeline needs 24×32" in message(xl)
    assert "made with another VAE or text encoder, those of a pipeline" in message(build_sd(1))


def test_another_source_pipeline_or_precision_does_not_go_on(tmp_path: Path, sd: Any) -> None:
    data, cache = jsonl(tmp_path / "data"), tmp_path / "cache"
    written(cache, sd, data)
    before = contents(cache)
    changed = jsonl(tmp_path / "changed", COUNT - 1)
    assert "another source" in refused(lambda: written(cache, sd, changed))
    assert "another precision" in refused(lambda: written(cache, sd, data, CacheSettings()))
    assert "another VAE or text encoder" in refused(lambda: written(cache, build_sd(1), data))
    metadata = data / "metadata.jsonl"
    metadata.write_text(metadata.read_text().replace("picture 3", "another"))
    assert "another source" in refused(lambda: written(cache, sd, data))
    assert contents(cache) == before


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path, sd: Any) -> None:
    data = jsonl(tmp_path / "data")
    before = contents(data)
    assert "is there already, and no cache" in refused(lambda: written(data, sd, data))
    assert contents(data) == before


def test_a_damaged_cache_is_refused_by_the_name_of_its_file(tmp_path: Path, sd: Any) -> None:
    cache = tmp_path / "cache"
    written(cache, sd, jsonl(tmp_path / "data"))

    def message() -> str:
        return refused(lambda: open_data(str(cache), sd, ReadingSettings()))

    shard = cache / "shard-00001.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-20])
    assert f"{shard}: cannot be read as safetensors" in message()
    shard.unlink()
    assert f"{shard}: cannot be read as safetensors" in message()
    shard.write_bytes(whole)
    index = (cache / INDEX).read_text()
    (cache / INDEX).write_text("{}")
    assert f"{cache / INDEX}: cannot be read as the index of a cache" in message()
    (cache / INDEX).write_text(index.replace("shard-00001", "../shard-00001"))
    assert f"{cache / INDEX}: cannot be read as the index of a cache" in message()


def test_a_cache_smaller_than_a_batch_or_given_as_a_source_is_refused(
    tmp_path: Path, sd: Any
) -> None:
    written(tmp_path / "cache", sd, jsonl(tmp_path / "data"))
    data = open_data(str(tmp_path / "cache"), sd, ReadingSettings())
    data.check(COUNT)
    assert "has 11 pictures, fewer than one batch of 12" in refused(lambda: data.check(12))
    assert "is a cache, which holds no pictures" in refused(lambda: opened(tmp_path / "cache"))


def test_places_count_through_shards_of_any_size() -> None:
    places = Places([2, 0, 3, 1])
    assert [places[number] for number in range(6)] == [
        (0, 0),
        (0, 1),
        (2, 0),
        (2, 1),
        (2, 2),
        (3, 0),
    ]
