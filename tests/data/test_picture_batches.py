"""Batches of captioned pictures: a function of (seed, step), for any number of workers."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from picture_files import COUNT, FORMATS, caption, encoded, opened, write
from torch.testing import assert_close

from experiments.data.batches import CaptionDraws, PictureData
from experiments.data.encoder import PipelineEncoder
from experiments.data.opening import open_data
from experiments.data.picture import decode
from experiments.data.settings import ReadingSettings
from experiments.data.source import DataError
from supernet.batches import Batch

READING = ReadingSettings(shuffle_buffer=3)
SIZE = 6


def same(left: Batch, right: Batch) -> None:
    assert_close(left.latents, right.latents)
    assert_close(left.encoder_hidden_states, right.encoder_hidden_states)
    assert_close(left.added_cond_kwargs, right.added_cond_kwargs)


def joined(parts: list[Batch], rows: list[int]) -> Batch:
    """Parts in the order of their rows."""
    order = torch.tensor(rows).argsort()
    added = None
    if parts[0].added_cond_kwargs is not None:
        added = {
            name: torch.cat([part.added_cond_kwargs[name] for part in parts])[order]
            for name in ("text_embeds", "time_ids")
        }
    return Batch(
        torch.cat([part.latents for part in parts])[order],
        torch.cat([part.encoder_hidden_states for part in parts])[order],
        added,
    )


@pytest.mark.parametrize("pipeline", ["sd", "xl"])
@pytest.mark.parametrize("kind", ["jsonl", "dataset", "shards"])
def test_a_batch_follows_from_seed_and_step_alone(
    request: pytest.FixtureRequest, tmp_path: Path, pipeline: str, kind: str
) -> None:
    data, loaded = str(FORMATS[kind](tmp_path / "data")), request.getfixturevalue(pipeline)

    def batches(seed: int = 3) -> Any:
        return open_data(data, loaded, READING).batches(SIZE, seed, 0.3)

    uninterrupted = batches()
    whole = [uninterrupted(step, range(SIZE)) for step in range(5)]
    resumed = batches()
    for step in (3, 4, 1):  # a resume, the step after it, a step back
        same(resumed(step, range(SIZE)), whole[step])
    for workers in (2, 3):
        sharing = [batches() for _ in range(workers)]
        slices = [range(worker, SIZE, workers) for worker in range(workers)]
        for step in range(3):
            parts = [each(step, rows) for each, rows in zip(sharing, slices, strict=True)]
            same(joined(parts, [row for rows in slices for row in rows]), whole[step])
    halves = [range(SIZE // 2), range(SIZE // 2, SIZE)]
    parts = [resumed(2, rows) for rows in halves]
    same(joined(parts, list(range(SIZE))), whole[2])
    assert not torch.equal(batches(4)(0, range(SIZE)).latents, whole[0].latents)


def test_captions_stay_with_their_latents_or_are_dropped(tmp_path: Path, sd: Any) -> None:
    encoder = PipelineEncoder(sd)
    source = opened(FORMATS["pairs"](tmp_path))
    own = [read() for read in source.in_order()]
    texts = encoder.conditioning([*map(caption, range(COUNT)), ""]).encoder_hidden_states
    data = PictureData("data", source, encoder)
    latents = encoder.latents([decode(picture) for picture in own])
    seen: Counter[int] = Counter()
    dropped = 0
    batches = data.batches(COUNT, 0, 0.3)
    for step in range(20):
        batch = batches(step, range(COUNT))
        for latent, text in zip(batch.latents, batch.encoder_hidden_states, strict=True):
            number = int((latents - latent).flatten(1).norm(dim=1).argmin())
            nearest = int((texts - text).flatten(1).norm(dim=1).argmin())
            assert nearest in (number, COUNT)
            seen[number] += 1
            dropped += nearest == COUNT
    assert seen == dict.fromkeys(range(COUNT), 20)
    assert dropped / (20 * COUNT) == pytest.approx(0.3, abs=0.1)


def test_each_of_a_picture_s_captions_is_drawn() -> None:
    draws = CaptionDraws(batch_size=50, seed=1, caption_dropout=0.2)
    drawn = Counter(
        number for step in range(40) for number in draws(step, range(50), [1, 3] * 25)[1::2]
    )
    assert set(drawn) == {None, 0, 1, 2}
    assert drawn[None] / 1000 == pytest.approx(0.2, abs=0.04)
    for number in range(3):
        assert drawn[number] / 1000 == pytest.approx(0.8 / 3, abs=0.05)
    assert draws(7, range(9, 30, 2), [3] * 11) == draws(7, range(50), [3] * 50)[9:30:2]


def test_workers_read_their_own_pictures_only(tmp_path: Path, sd: Any) -> None:
    lines = [json.dumps({"file_name": f"{i}.png", "text": "a"}) for i in range(4)]
    files = {f"{i}.png": encoded(i) for i in range(4)} | {"metadata.jsonl": "\n".join(lines)}
    write(tmp_path, files)
    batches = open_data(str(tmp_path), sd, READING).batches(4, 0, 0)
    write(tmp_path, {"2.png": "broken"})
    refused = []
    for row in range(4):
        try:
            batches(0, range(row, row + 1))
        except DataError as error:
            refused.append(str(error).partition(":")[0])
    assert refused == [str(tmp_path / "2.png")]
