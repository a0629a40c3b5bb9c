"""A report in Markdown, and a run in TensorBoard's files."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_report import small_data, small_latency
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary

from evaluators.pool_events import PoolEvent
from experiments import tensorboard
from experiments.report.data import ReportData
from experiments.report.markdown import markdown
from experiments.training_log import TrainingPoint


@pytest.fixture(scope="module")
def data() -> ReportData:
    data = small_data(small_latency())
    return replace(data, conditions=("CLIP score by judge_1 | on 32 prompts",))


def rows_of(text: str) -> list[list[str]]:
    """Cells of all tables."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_markdown_has_every_figure_before_and_after(data: ReportData) -> None:
    rows = rows_of(markdown(data))
    assert ["CLIP score", "0.2700", "0.2600", "", "−0.0100"] in rows
    assert ["UNet latency by the clock", "10.00", "6.00", "ms", "−40.0 %"] in rows
    assert ["Caption accuracy", "90.0", "85.0", "%", "−5.0 points"] in rows
    [table] = [row for row in rows if row[0] == "UNet latency by the table"]
    assert float(table[1]) == pytest.approx(data.latency(data.base), abs=0.005)
    assert float(table[2]) == pytest.approx(data.latency(data.found), abs=0.005)


def test_markdown_says_what_was_decided_and_what_is_left(data: ReportData) -> None:
    text = markdown(data)
    assert "2 blocks removed and 1 added in 2 rounds, in 1 min 15 s." in text
    first, second = (line for line in text.splitlines() if line.startswith("- **Round"))
    assert "removed 2 of 18: CLIP 0.2600 → 0.2550" in first
    assert first.endswith("`cross_attention up.1/1`, `resnet down.0/0`")
    assert second.endswith("`cross_attention mid/0`")
    rows = {row[0]: row[3:] for row in rows_of(text) if len(row) == 5}
    assert rows["down.0"] == ["2 → **1**", "2"]
    assert rows["mid"] == ["2", "1 → **2**"]
    assert rows["up.1"] == ["3", "3 → **2**"]
    assert text.rstrip().endswith("evounet search demo.toml\n```")


def test_no_text_is_taken_for_markup(data: ReportData) -> None:
    text = markdown(replace(data, title="a | <b> `c` # d"))
    assert text.startswith("# a \\| \\<b\\> \\`c\\` \\# d\n")
    assert "judge\\_1 \\| on" in text


def test_markdown_of_a_search_under_way(data: ReportData) -> None:
    text = markdown(replace(data, result=None, faults=(PoolEvent.now("node lost", "n", "t"),)))
    assert "Not finished: 2 blocks removed and 1 added in 2 rounds so far." in text
    assert "`faults.jsonl` (1 events)" in text
    assert "None yet." in markdown(replace(data, result=None, decisions=()))


def events(folder: Path) -> Iterator[tuple[int, Summary.Value]]:
    """Steps and values of the one event file."""
    [path] = folder.iterdir()
    content = path.read_bytes()
    while content:
        [size] = struct.unpack("<Q", content[:8])
        event = Event.FromString(content[12 : 12 + size])
        content = content[12 + size + 4 :]
        for value in event.summary.value:
            yield event.step, value


def test_tensorboard_has_decisions_trainings_and_pictures(data: ReportData, tmp_path: Path) -> None:
    points = tuple(
        TrainingPoint("round-1", step, 2, 0.5 / step, 1e-3, None if step == 1 else 64.0)
        for step in (1, 2)
    )
    base = data.samples[0]
    rounds = (base, replace(base, title="round 1", images=torch.zeros(2, 3, 8, 8)))
    folder = tmp_path / "tensorboard"
    for _ in range(2):  # the second takes the place of the first
        tensorboard.write_events(folder, replace(data, curves=points, round_samples=rounds))
    scalars: dict[str, list[tuple[int, float]]] = {}
    pictures: dict[str, list[int]] = {}
    for step, value in events(folder):
        if value.HasField("simple_value"):
            scalars.setdefault(value.tag, []).append((step, value.simple_value))
        else:
            pictures.setdefault(value.tag, []).append(step)
            assert (value.image.height, value.image.width) == (8, 8)
    first, second = data.decisions
    clips = (first.clip_before, first.clip_after, second.clip_after)
    assert scalars["search/CLIP_score"] == [(i, pytest.approx(c)) for i, c in enumerate(clips)]
    milliseconds = [ms for _, ms in scalars["search/latency_ms"]]
    assert milliseconds[-1] == pytest.approx(second.latency_after_ms)
    assert scalars["search/parameters"][0][1] == data.inventory.parameters(data.base)
    assert scalars["loss/round-1"] == [(1, 0.5), (2, 0.25)]
    assert scalars["pictures_per_s/round-1"] == [(2, 64.0)]
    assert len(pictures) == 4
    assert all(steps == [0, 1] for steps in pictures.values())


def test_what_is_missing_is_named_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install tensorboardX"):
        tensorboard.check_writer()
