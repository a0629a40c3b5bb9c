"""What a trial does in its process, with a search in place of the real one."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from test_sweep_marks import DEMANDS, FULL, WAY, decision
from toy_sweep import swept

from experiments.run_folder import RunFolder
from experiments.sweep import trial as module
from experiments.sweep.folder import SweepFolder
from experiments.sweep.plan import trial_experiment
from experiments.sweep.records import Report
from experiments.sweep.trial import Task, run_trial
from search.decision import Decision
from search.demands import Demands
from search.state import SearchState
from supernet.architecture import Architecture

HALF = len(WAY) // 2
DECISIONS = [
    decision(WAY[0], WAY[HALF], (0.9, 0.8)),
    decision(WAY[HALF], WAY[-1], (0.85, 0.7)),
]
SWEPT = swept({"trials": 1, "parameters": {"search.caution": [2.0]}})
TRIAL = trial_experiment(SWEPT, {"search.caution": 2.0}, "toy-trial-01", "toy.toml")


@dataclass(frozen=True)
class ToyParts:
    demands: Demands = DEMANDS
    full: Architecture = FULL


def reaches(folder: RunFolder, decided: int) -> SearchState:
    """A run folder after so many decisions."""
    state = SearchState(FULL, DECISIONS[:decided])
    state.save(folder.state)
    return state


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """What Tune hears; searches are replaced by one that makes the decisions above."""
    reports: list[dict[str, Any]] = []

    def search(
        parts: ToyParts, folder: RunFolder, log: object, pool: str, tell: Callable[[Decision], None]
    ) -> None:
        assert pool == "pool"
        assert not folder.result.exists()
        for number in range(len(SearchState.load(folder.state, FULL).decisions), 2):
            tell(reaches(folder, number + 1).decisions[-1])
        folder.result.write_text("{}")

    monkeypatch.setattr(module, "prepare", lambda experiment: ToyParts())
    monkeypatch.setattr(module, "open_pool", lambda *arguments: nullcontext("pool"))
    monkeypatch.setattr(module, "search", search)
    monkeypatch.setattr(module.tune, "report", reports.append)
    monkeypatch.chdir(tmp_path)
    return reports


def task(path: Path) -> Task:
    path.mkdir(exist_ok=True)
    return Task(path, {"trial-01": TRIAL}, 2, Path.cwd(), {})


@pytest.mark.parametrize("before", [0, 1, 2])
def test_decisions_made_before_are_told_again_and_first(
    told: list[dict[str, Any]], tmp_path: Path, before: int
) -> None:
    folder = SweepFolder(tmp_path / "sweep").trial("trial-01")
    if before:
        folder.path.mkdir(parents=True)
        folder.create(TRIAL)
        reaches(folder, before)
    run_trial({"trial": "trial-01"}, task(tmp_path / "sweep"))
    reports = [Report.model_validate_json(each["report"]) for each in told]
    assert [report.clip for report in reports] == [0.8, 0.7]
    assert [report.met for report in reports] == [False, True]
    assert reports[1].latency_ms == DECISIONS[1].latency_after_ms
    assert [mark for report in reports for mark, _ in report.marks] == [1, 2]
    assert folder.load_experiment() == TRIAL


def test_a_finished_trial_is_told_of_and_not_searched_again(
    told: list[dict[str, Any]], tmp_path: Path
) -> None:
    run_trial({"trial": "trial-01"}, task(tmp_path / "sweep"))
    run_trial({"trial": "trial-01"}, task(tmp_path / "sweep"))
    assert told[:2] == told[2:]


def test_an_error_is_told_in_a_line_and_logged_whole(
    told: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def search(*arguments: object) -> None:
        raise ValueError("no luck\nat all")

    monkeypatch.setattr(module, "search", search)
    run_trial({"trial": "trial-01"}, task(tmp_path / "sweep"))
    assert told == [{"failure": "ValueError: no luck"}]
    log = (tmp_path / "sweep" / "trial-01" / "log.txt").read_text()
    assert "Traceback" in log
    assert "at all" in log


def test_a_trial_is_where_and_with_what_the_sweep_was_started(
    told: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVOUNET_TABLES", "elsewhere")
    where = tmp_path / "here"
    where.mkdir()
    (tmp_path / "sweep").mkdir()
    environment = {"EVOUNET_TABLES": "tables"}
    asked = Task(tmp_path / "sweep", {"trial-01": TRIAL}, 2, where, environment)
    run_trial({"trial": "trial-01"}, asked)
    assert Path.cwd() == where
    assert os.environ["EVOUNET_TABLES"] == "tables"
