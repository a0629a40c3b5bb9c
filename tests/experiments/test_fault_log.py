"""What happened to the workers: said, kept in the run folder, and shown in the report."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from evaluators.pool_events import PoolEvent
from experiments.fault_log import FaultLog, load_faults
from experiments.report.faults import fault_list
from experiments.run_log import RunLog

LOST = PoolEvent.now("worker lost", "worker 3 (process 7 on host/ab12cd)", "killed")
SLOW = PoolEvent.now("slow worker", "worker 1", "50.0 s over <b>, where 5.0 s are usual")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "faults.jsonl"


@pytest.fixture
def fault_log(path: Path) -> FaultLog:
    return FaultLog(path, RunLog(Console(quiet=True), path.with_name("log.txt")))


def test_events_are_kept_and_said(path: Path, fault_log: FaultLog) -> None:
    assert load_faults(path) == ()
    for event in (LOST, SLOW, LOST):
        fault_log(event)
    assert load_faults(path) == (LOST, SLOW, LOST)
    said = path.with_name("log.txt").read_text().splitlines()
    assert said[0].endswith("worker lost: worker 3 (process 7 on host/ab12cd): killed")
    assert len(said) == 3


def test_a_line_that_was_cut_off_costs_no_other(path: Path, fault_log: FaultLog) -> None:
    fault_log(LOST)
    path.write_text(path.read_text() + '{"time": 17, "ki')
    assert load_faults(path) == (LOST,)


def test_the_report_counts_and_lists_what_happened() -> None:
    page = fault_list([LOST, SLOW, LOST])
    assert "<b>2</b> × worker lost, <b>1</b> × slow worker" in page
    assert page.count("<tr>") == 1 + 3
    assert "50.0 s over &lt;b&gt;, where" in page


def test_the_report_of_a_quiet_run_says_so() -> None:
    assert "Nothing:" in fault_list([])
