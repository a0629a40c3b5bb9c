"""Runs side by side, from their folders alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from in_process import Evounet

from experiments.experiment import load_experiment
from experiments.run_comparison import read_run, runs_figure


def write_run(folder: Path, *overrides: str, ended: bool = True, front: bool = False) -> Path:
    folder.mkdir()
    (folder / "experiment.toml").write_text(load_experiment(Path("demo"), overrides).to_toml())
    steps = [(30.0, 0.9, 25.0, 0.89), (25.0, 0.88, 15.0, 0.85)]
    keys = ("latency_before_ms", "clip_before", "latency_after_ms", "clip_after")
    lines = [json.dumps(dict(zip(keys, step, strict=True))) for step in steps]
    (folder / "decisions.jsonl").write_text("\n".join(lines) + "\n")
    if ended:
        result = {"clip_before": 0.91, "clip_after": 0.9, "wall_s": 90.0}
        result |= {"parameters_before": 2e6, "parameters_after": 1e6}
        (folder / "result.json").write_text(json.dumps(result))
    if front:
        points = [{"latency_ms": 10.0, "clip": 0.5}, {"latency_ms": 30.0, "clip": 0.9}]
        (folder / "front.json").write_text(json.dumps({"points": points}))
    return folder


def test_runs_are_put_side_by_side(
    evounet: Evounet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    one = write_run(tmp_path / "one", "search.paper=true", front=True)
    two = write_run(tmp_path / "two", "search.strategy=random", "seed=7", ended=False)
    picture = tmp_path / "runs.html"
    answer = evounet("compare", one, two, "--picture", picture)
    first, second = (
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in answer.out.splitlines()
        if line.startswith(("│ one", "│ two"))
    )
    assert first[1:3] == ["evolution (paper)", "0"]
    assert first[4:] == [
        "2",
        "30.00 -> 15.00",
        "0.9000 -> 0.8500",
        "0.9100 -> 0.9000",
        "2.00 -> 1.00",
        "1.5",
    ]
    assert second[1:3] == ["random", "7"]
    assert second[-3:] == ["not ended", "not ended", ""]
    assert picture.stat().st_size > 1e6
    figure = runs_figure([read_run(one), read_run(two)])
    assert [trace.name for trace in figure.data] == [
        "one: evolution (paper), seed 0",
        "one: evolution (paper), seed 0, front",
        "two: random, seed 7",
    ]
    assert list(figure.data[0].x) == [30.0, 25.0, 15.0]


def test_what_is_no_run_is_refused(evounet: Evounet, tmp_path: Path) -> None:
    assert "is no run folder" in evounet.refused("compare", tmp_path / "lost")
    run = write_run(tmp_path / "run")
    (run / "decisions.jsonl").write_text("{")
    assert "damaged" in evounet.refused("compare", run)
    (run / "decisions.jsonl").unlink()
    assert "has not decided anything yet" in evounet.refused("compare", run)
    picture = tmp_path / "lost" / "runs.html"
    assert "is no folder" in evounet.refused("compare", run, "--picture", picture)
