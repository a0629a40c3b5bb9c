"""A sweep from the command line: killed twice, and interrupted, it ends as if left alone."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from in_process import TINY_DEMO
from test_search_command import evounet, outcome

from experiments.sweep.records import Records
from supernet.spec import read_spec

pytestmark = pytest.mark.slow

# The second learning rate spoils the pictures, so that its trial falls behind.
RATES = "sweep.parameters.training.round.learning_rate=[1e-4, 1e-1, 2e-4]"


def sweep(folder: Path, *more: str) -> subprocess.Popen[str]:
    settings = (
        "sweep.trials=3",
        RATES,
        *TINY_DEMO,
        "search.refine=0",
        "search.recheck=0",
        "search.grow=false",
        *more,
    )
    overrides = [part for each in settings for part in ("--set", each)]
    return evounet("sweep", "demo", "--run", folder, "--workers", 1, *overrides)


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=1200)
    assert process.returncode == 0, f"{out}\n{err}"
    return out


def kill_when(process: subprocess.Popen[str], file: Path, how: signal.Signals) -> str:
    while not file.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    if how is signal.SIGINT:
        os.killpg(process.pid, how)  # as a terminal does
    else:
        os.kill(process.pid, how)
    out, _ = process.communicate(timeout=60)
    return out


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep that nothing disturbs."""
    folder = tmp_path_factory.mktemp("sweeps") / "whole"
    out = finish(sweep(folder))
    with (folder / "sweep.csv").open() as file:
        [best] = [row["trial"] for row in csv.DictReader(file) if row["best"] == "True"]
    assert f"evounet export {folder / best} --format diffusers" in out.replace("\n", "")
    return folder


def test_a_trial_that_falls_behind_is_stopped_and_the_others_are_run_folders(whole: Path) -> None:
    records = Records.load(whole / "trials.json")
    assert [trial.end for trial in records.trials][:2] == ["done", "stopped"]
    stopped = whole / "trial-02"
    assert len(records.reports_of("trial-02")) == 1
    assert len((stopped / "decisions.jsonl").read_text().splitlines()) == 1
    assert not (stopped / "result.json").exists()
    spec = read_spec(whole / "trial-01" / "spec.json")
    assert spec.multiplicities
    assert not (whole / ".tune").exists()
    wide = os.environ | {"COLUMNS": "200"}
    table = finish(evounet("compare", *sorted(whole.glob("trial-*")), env=wide))
    assert "trial-02" in table


def test_killed_and_interrupted_it_ends_as_undisturbed(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    kill_when(sweep(folder), folder / "trial-01" / "state.json", signal.SIGKILL)
    resumed = evounet("resume", folder)
    kill_when(resumed, folder / "trial-02" / "experiment.toml", signal.SIGKILL)
    # Whatever Tune has left is not needed.
    shutil.rmtree(folder / ".tune", ignore_errors=True)
    resumed = evounet("resume", folder, start_new_session=True)
    out = kill_when(resumed, folder / "trial-03" / "experiment.toml", signal.SIGINT)
    assert f"interrupted; continue with 'evounet resume {folder}'" in out.replace("\n", "")
    finish(evounet("resume", folder))
    assert (folder / "trials.json").read_bytes() == (whole / "trials.json").read_bytes()
    assert (folder / "sweep.csv").read_text() == (whole / "sweep.csv").read_text()
    for trial in whole.glob("trial-*"):
        if (trial / "spec.json").exists():
            assert outcome(folder / trial.name) == outcome(trial)


def test_a_trial_whose_process_dies_goes_on(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "lost"
    process = sweep(folder)
    while not (folder / "trial-01" / "state.json").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.kill(int((folder / "trial-01" / ".lock").read_text()), signal.SIGKILL)
    assert "trial-01: its process died" in finish(process)
    assert (folder / "trials.json").read_bytes() == (whole / "trials.json").read_bytes()


def test_a_stopped_trial_may_be_searched_to_its_end(whole: Path, tmp_path: Path) -> None:
    trial = tmp_path / "trial-02"
    shutil.copytree(whole / "trial-02", trial)
    finish(evounet("resume", trial))
    assert json.loads((trial / "result.json").read_text())["actions"]


def test_two_trials_share_the_evaluators(tmp_path: Path) -> None:
    folder = tmp_path / "two"
    two = "sweep.parameters.search.caution=[0.0, 1.0]"
    finish(sweep(folder, "sweep.concurrent=2", "sweep.trials=2", "sweep.parameters=", two))
    records = Records.load(folder / "trials.json")
    assert [trial.name for trial in records.trials] == ["trial-01", "trial-02"]
    assert {trial.end for trial in records.trials} <= {"done", "stopped"}


def test_nothing_is_written_where_the_cluster_is_not_there(tmp_path: Path) -> None:
    process = sweep(tmp_path / "sweep", "workers.address='127.0.0.1:1'")
    _, err = process.communicate()
    assert process.returncode == 2
    assert "no Ray cluster at '127.0.0.1:1'" in err
    assert list(tmp_path.iterdir()) == []
