"""The main job from the command line: a search, killed and resumed, with any number of workers."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from diffusers import DiffusionPipeline
from in_process import TINY_DEMO, Evounet

from experiments.experiment import load_experiment
from experiments.fault_log import load_faults
from experiments.training_log import load_training
from supernet.materialize import architecture_of
from supernet.spec import read_spec
from supernet.standalone_unet import StandaloneUNet


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "experiments.cli", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def search(run: Path, workers: int, *more: str) -> subprocess.Popen[str]:
    overrides = [part for setting in (*TINY_DEMO, *more) for part in ("--set", setting)]
    return start("search", "demo", "--run", run, "--workers", workers, *overrides)


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, f"{out}\n{err}"
    return out


@pytest.fixture
def evounet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Evounet:
    return Evounet(monkeypatch, capsys)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted search with one worker, which goes on past its target."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    out = finish(search(folder, 1, "search.pareto=true"))
    assert str(folder / "report.html") in out.replace("\n", "")
    return folder


def test_any_point_of_the_front_is_exported(evounet: Evounet, run: Path, tmp_path: Path) -> None:
    points = json.loads((run / "front.json").read_text())["points"]
    assert [p["latency_ms"] for p in points] == sorted(p["latency_ms"] for p in points)
    assert [p["clip"] for p in points] == sorted(p["clip"] for p in points)
    out = tmp_path / "point"
    answer = evounet("export", run, "--point", 1, "--out", out)
    assert answer.code == 0, answer.err
    spec = read_spec(out / "spec.json")
    assert spec.changed == points[0]["blocks"]
    drawing = DiffusionPipeline.from_pretrained(out, trust_remote_code=True)
    assert drawing.unet.num_parameters() == spec.parameters[1]
    assert spec.clip.found == points[0]["clip"]
    lost = evounet.refused("export", run, "--point", len(points) + 1, "--out", tmp_path / "none")
    assert f"has {len(points)} points, no point {len(points) + 1}" in lost
    assert not (tmp_path / "none").exists()


def test_a_search_from_another_run_draws_what_that_has_not(run: Path, tmp_path: Path) -> None:
    overrides = [part for setting in TINY_DEMO for part in ("--set", setting)]
    out = finish(start("search", "demo", "--run", tmp_path / "again", "--from", run, *overrides))
    asked, drawn = re.findall(r"pictures: (\d+) asked for, of which (\d+) were drawn", out)[0]
    assert int(asked) > 0
    assert int(drawn) == 0
    assert outcome(tmp_path / "again") == outcome(run)


def losses(run: Path) -> list[tuple[str, int, float]]:
    points = load_training(run / "training.jsonl")
    return [(point.training, point.step, point.loss) for point in points]


def outcome(run: Path) -> tuple[str, str]:
    return (run / "spec.json").read_text(), (run / "decisions.jsonl").read_text()


def test_a_run_folder_holds_what_was_promised(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert names >= {
        "experiment.toml",
        "state.json",
        "evaluations.db",
        "decisions.jsonl",
        "front.json",
        "checkpoints",
        "spec.json",
        "result.json",
        "report.html",
        "log.txt",
        "training.jsonl",
        "live.json",
        "unet",
        "samples",
    }
    result = json.loads((run / "result.json").read_text())
    target_ratio = load_experiment(run / "experiment.toml").latency.target_ratio
    assert result["unet_ms_after_predicted"] <= target_ratio * result["unet_ms_before_predicted"]
    assert result["parameters_after"] < result["parameters_before"]
    assert result["actions"]
    assert {
        "unet_ms_before",
        "unet_ms_after",
        "clip_before",
        "clip_after",
        "caption_accuracy_before",
        "caption_accuracy_after",
        "fid_before",
        "kid_after",
        "wall_s",
    } <= result.keys()


def test_the_found_unet_is_the_one_of_the_spec(run: Path) -> None:
    spec = read_spec(run / "spec.json")
    unet = StandaloneUNet.from_pretrained(run / "unet")
    assert architecture_of(unet) == spec.architecture()
    assert sum(p.numel() for p in unet.parameters()) == spec.parameters[1]


@pytest.mark.slow  # beside the killed one, which ends with two
def test_two_workers_decide_as_one_does(run: Path, tmp_path: Path) -> None:
    finish(search(tmp_path / "two", workers=2))
    assert outcome(tmp_path / "two") == outcome(run)


@pytest.mark.parametrize(
    "moment",
    [pytest.param("state.json", marks=pytest.mark.slow), "checkpoints/round-2.safetensors"],
)
def test_a_killed_search_resumes_to_the_same_end(run: Path, tmp_path: Path, moment: str) -> None:
    """With another number of workers too."""
    folder = tmp_path / "killed"
    process = search(folder, workers=1)
    while not (folder / moment).exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (folder / "spec.json").exists()
    finish(start("resume", folder, "--workers", 2))
    assert outcome(folder) == outcome(run)
    assert "resumed" in {event.kind for event in load_faults(folder / "faults.jsonl")}
    assert "was interrupted" in (folder / "report.html").read_text()
    assert losses(folder) == losses(run)


def test_an_export_draws_in_a_stock_pipeline(evounet: Evounet, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "exported"
    assert "bit for bit" in evounet("export", run, "--format", "diffusers", "--out", out).out
    spec, exported = read_spec(run / "spec.json"), read_spec(out / "spec.json")
    assert exported.architecture() == spec.architecture()
    assert (exported.clip, exported.latency) == (spec.clip, spec.latency)
    pipeline = DiffusionPipeline.from_pretrained(out, trust_remote_code=True)
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline("a small red circle on a white background", num_inference_steps=1).images[0]
    assert image.size == (64, 64)


def test_a_report_is_written_anew(evounet: Evounet, run: Path) -> None:
    before = (run / "report.html").read_text()
    (run / "report.html").unlink()
    assert evounet("report", run).code == 0
    assert (run / "report.html").read_text() == before


def test_a_finished_run_is_not_overwritten(evounet: Evounet, run: Path) -> None:
    before = outcome(run)
    assert "already there" in evounet.refused("search", "demo", "--run", run)
    assert outcome(run) == before


def test_nothing_is_written_where_the_cluster_is_not_there(
    evounet: Evounet, tmp_path: Path
) -> None:
    refused = evounet.refused(
        "search", "demo", "--run", tmp_path / "run", "--address", "127.0.0.1:1"
    )
    assert "no Ray cluster at '127.0.0.1:1'" in refused
    assert list(tmp_path.iterdir()) == []
