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
from in_process import Evounet
from safetensors import SafetensorError

from experiments import cli
from experiments.models import SHAPES_MODELS
from latency_tables import load_table, read_table, write_table
from latency_tables.table import LatencyTable

TABLE = "epyc-1core-fp32"


def process(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "experiments.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def evounet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Evounet:
    """In the test's own folder."""
    monkeypatch.chdir(tmp_path)
    return Evounet(monkeypatch, capsys)


def test_help_answers_within_a_second_and_names_the_commands() -> None:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        answer = process("--help")
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
    assert f"Example: evounet {command}" in process(command, "--help").stdout


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
def test_bad_input_is_one_clear_line_and_leaves_nothing(
    evounet: Evounet, case: str, tmp_path: Path
) -> None:
    options, expected = BAD_INPUT[case]
    assert expected in evounet.refused("search", "demo", "--run", tmp_path / "run", *options)
    assert list(tmp_path.iterdir()) == []


def test_truncated_weights_are_refused(evounet: Evounet, tmp_path: Path) -> None:
    weights = tmp_path / "supernet.safetensors"
    weights.write_bytes((SHAPES_MODELS / "supernet.safetensors").read_bytes()[:100_000])
    options = ["--set", f"model.supernet={weights}"]
    refused = evounet.refused("search", "demo", "--run", tmp_path / "run", *options)
    assert str(weights) in refused
    assert not (tmp_path / "run").exists()


def test_a_truncated_pipeline_is_refused(evounet: Evounet, tmp_path: Path) -> None:
    pipeline = tmp_path / "pipeline"
    shutil.copytree(SHAPES_MODELS / "pipeline", pipeline)
    weights = pipeline / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    options = ["--set", f"model.pipeline={pipeline}"]
    refused = evounet.refused("search", "demo", "--run", tmp_path / "run", *options)
    assert str(pipeline) in refused
    assert not (tmp_path / "run").exists()


def test_a_table_without_a_needed_row_is_refused(evounet: Evounet, tmp_path: Path) -> None:
    table = load_table(TABLE)
    rows = {s: row for s, row in table.rows.items() if s.kind != "upsample"}
    metadata = table.metadata.model_copy(update={"name": "gappy"})
    path = write_table(LatencyTable(metadata, rows), tmp_path)
    assert read_table(path).rows == rows
    options = ["--set", f"latency.tables=['{path}']"]
    answer = evounet("search", "demo", "--run", tmp_path / "run", *options)
    assert answer.code == 2
    assert "upsample" in answer.err
    assert "evounet profile" in answer.err
    assert not (tmp_path / "run").exists()


def test_an_unknown_block_is_refused(evounet: Evounet, tmp_path: Path) -> None:
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
    assert "no block 'resnet down.0/7'" in evounet.refused("analyze", path)


def test_a_folder_that_is_no_run_is_not_overwritten(evounet: Evounet, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("three years of work")
    refused = evounet.refused("search", "demo", "--run", tmp_path, "--overwrite")
    assert "is no run folder" in refused
    assert (tmp_path / "thesis.txt").read_text() == "three years of work"


@pytest.mark.parametrize("command", [["resume"], ["report"], ["export", "--out", "here"]])
def test_what_is_no_run_is_refused(evounet: Evounet, command: list[str], tmp_path: Path) -> None:
    assert "is no run folder" in evounet.refused(*command, tmp_path)
    assert list(tmp_path.iterdir()) == []


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


def test_a_path_that_the_system_refuses_is_told_in_a_line(evounet: Evounet, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for path, reason in (
        (file / "run", "Not a directory"),
        (tmp_path / ("a" * 300), "File name too long"),
    ):
        line = evounet.refused("search", "demo", "--run", path)
        assert f"{reason}; correct the path, or its permissions" in line
        assert str(path) in line


def test_a_process_that_refuses_says_one_line(tmp_path: Path) -> None:
    """No library has another to say as it ends."""
    answer = process("search", "demo", "--run", tmp_path / "run", "--set", "seed=-1")
    assert answer.returncode == 2
    assert answer.stderr.count("\n") == 1
    assert answer.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_bug_shows_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(cli, "app", broken)
    with pytest.raises(OSError, match="Permission denied"):
        cli.main()
