"""The front door: quick to answer, and clear about bad input."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors import SafetensorError

from experiments import cli
from experiments.models import SHAPES_MODELS
from latency_tables import load_table, read_table, write_table
from latency_tables.table import LatencyTable

TABLE = "epyc-1core-fp32"


def evounet(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "experiments.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


def test_help_answers_within_a_second_and_names_the_commands() -> None:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        answer = evounet("--help")
        seconds.append(time.perf_counter() - start)
    assert answer.returncode == 0
    commands = "analyze profile tables train search sweep resume submit jobs export compare"
    for command in commands.split():
        assert command in answer.stdout
    assert min(seconds) < 1


@pytest.mark.parametrize(
    "command",
    [
        "analyze",
        "compare",
        "forecast",
        "plan",
        "profile",
        "search",
        "resume",
        "submit",
        "sweep",
        "export",
        "report",
    ],
)
def test_every_command_has_an_example(command: str) -> None:
    assert f"Example: evounet {command}" in evounet(command, "--help").stdout


BAD_INPUT = {
    "an unknown key": (["--set", "search.round=2"], "search.round"),
    "an unknown block kind of field": (["--set", "seed=-1"], "seed"),
    "a target out of reach": (["--set", "latency.target_ratio=0.01"], "cannot be reached"),
    "an unknown table": (["--set", "latency.tables=['nokia']"], "unknown latency table 'nokia'"),
    "no such pipeline": (["--set", "model.pipeline=no/such/folder"], "no/such/folder"),
    "no such prompt file": (["--set", "evaluation.prompts.source=lost.txt"], "lost.txt"),
    "no such scorer": (
        ["--set", "evaluation.second={kind = 'transformers', name = './lost'}"],
        "scorer './lost': no such folder",
    ),
    "a scorer that has no use for the comparison's prompts": (
        ["--set", f"comparison.prompts={{source = '{__file__}', count = 9}}"],
        "caption_accuracy needs captions that a picture must not fit",
    ),
    "no reference": (["--set", "comparison.reference=lost"], "lost holds 0 pictures"),
    "a store of scores in no folder": (
        ["--set", "evaluation.store=lost/s.db"],
        "lost is no folder",
    ),
    "a store that is none": (
        ["--set", f"evaluation.store={__file__}"],
        "test_cli.py: cannot be read",
    ),
    "no such supernet": (["--set", "model.supernet=lost.safetensors"], "lost.safetensors"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_clear_line_and_leaves_nothing(case: str, tmp_path: Path) -> None:
    options, expected = BAD_INPUT[case]
    answer = evounet("search", "demo", "--run", tmp_path / "run", *options, cwd=tmp_path)
    assert_refused(answer, expected)
    assert list(tmp_path.iterdir()) == []


def test_truncated_weights_are_refused(tmp_path: Path) -> None:
    weights = tmp_path / "supernet.safetensors"
    weights.write_bytes((SHAPES_MODELS / "supernet.safetensors").read_bytes()[:100_000])
    options = ["--set", f"model.supernet={weights}"]
    answer = evounet("search", "demo", "--run", tmp_path / "run", *options)
    assert_refused(answer, str(weights))
    assert not (tmp_path / "run").exists()


def test_a_truncated_pipeline_is_refused(tmp_path: Path) -> None:
    pipeline = tmp_path / "pipeline"
    shutil.copytree(SHAPES_MODELS / "pipeline", pipeline)
    weights = pipeline / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    options = ["--set", f"model.pipeline={pipeline}"]
    answer = evounet("search", "demo", "--run", tmp_path / "run", *options)
    assert_refused(answer, str(pipeline))
    assert not (tmp_path / "run").exists()


def test_a_table_without_a_needed_row_is_refused(tmp_path: Path) -> None:
    table = load_table(TABLE)
    rows = {s: row for s, row in table.rows.items() if s.kind != "upsample"}
    metadata = table.metadata.model_copy(update={"name": "gappy"})
    path = write_table(LatencyTable(metadata, rows), tmp_path)
    assert read_table(path).rows == rows
    options = ["--set", f"latency.tables=['{path}']"]
    answer = evounet("search", "demo", "--run", tmp_path / "run", *options)
    assert answer.returncode == 2
    assert "upsample" in answer.stderr
    assert "evounet profile" in answer.stderr
    assert not (tmp_path / "run").exists()


def test_an_unknown_block_is_refused(tmp_path: Path) -> None:
    spec = {
        "version": 1,
        "base": json.loads((SHAPES_MODELS / "pipeline" / "unet" / "config.json").read_text()),
        "multiplicities": {"resnet down.0/7": 0},
        "stages": [],
        "parameters": [0, 0],
        "macs": [0, 0],
        "latency": [],
        "clip": None,
        "provenance": {"experiment": "x", "seed": 0, "evounet": "0", "weights": ""},
    }
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(spec))
    assert_refused(evounet("analyze", path), "no block 'resnet down.0/7'")


def test_a_folder_that_is_no_run_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("three years of work")
    answer = evounet("search", "demo", "--run", tmp_path, "--overwrite")
    assert_refused(answer, "is no run folder")
    assert (tmp_path / "thesis.txt").read_text() == "three years of work"


@pytest.mark.parametrize("command", [["resume"], ["report"], ["export", "--out", "here"]])
def test_what_is_no_run_is_refused(command: list[str], tmp_path: Path) -> None:
    assert_refused(evounet(*command, tmp_path, cwd=tmp_path), "is no run folder")
    assert list(tmp_path.iterdir()) == []


def assert_refused(answer: subprocess.CompletedProcess[str], expected: str) -> None:
    assert answer.returncode == 2, answer.stdout + answer.stderr
    assert expected in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1, answer.stderr


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("Error while serializing: I/O error: No space left (os error 28)"),
        RuntimeError("(sqlite3.OperationalError) database or disk is full"),
    ],
)
def test_a_full_disk_is_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def full() -> None:
        raise error

    monkeypatch.setattr(cli, "app", full)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("evounet: no space left on the disk; make room")
    assert told.count("\n") == 1


def test_a_path_that_the_system_refuses_is_told_in_a_line(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for path, reason in (
        (file / "run", "Not a directory"),
        (tmp_path / ("a" * 300), "File name too long"),
    ):
        answer = evounet("search", "demo", "--run", path)
        assert answer.returncode == 2
        (line,) = answer.stderr.splitlines()
        assert f"{reason}; correct the path, or its permissions" in line
        assert str(path) in line


def test_a_bug_shows_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(cli, "app", broken)
    with pytest.raises(OSError, match="Permission denied"):
        cli.main()
