"""A search on a cluster, from the command line: sent, followed, stopped, resumed and fetched."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from in_process import TINY_DEMO
from test_run_command import settings
from test_search_command import outcome

from latency_tables.registry import SHIPPED

pytestmark = pytest.mark.slow

TABLE = "epyc-1core-fp32"
SEARCH = ["demo", "--workers", "1", "--set", f"latency.tables=['tables/{TABLE}.toml']"] + [
    part for setting in TINY_DEMO for part in ("--set", setting)
]


@dataclass(frozen=True)
class Head:
    """A cluster of one node, whose token is in the environment.

    Attributes:
        address: of its dashboard.
        home: the home folder of its jobs.
        here: where users call evounet; their latency table is there.
    """

    address: str
    home: Path
    here: Path
    environment: dict[str, str]

    def evounet(self, *arguments: object, code: int = 0, **variables: str) -> str:
        """What evounet prints, errors with it."""
        answer = subprocess.run(
            [sys.executable, "-m", "experiments.cli", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.here,
            env=self.environment | variables,
            timeout=600,
            check=False,
        )
        assert answer.returncode == code, answer.stdout
        return answer.stdout


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    home, here = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("here")
    (here / "tables").mkdir()
    for suffix in ("toml", "csv"):
        shutil.copy(SHIPPED / f"{TABLE}.{suffix}", here / "tables")
    port, dashboard, agent, client = free_ports(4)
    temporary = tempfile.mkdtemp(prefix="ray-")  # short: sockets in it have long names
    binaries = Path(sys.executable).parent
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {
        "HOME": str(home),
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PYTHONUNBUFFERED": "1",
        "RAY_AUTH_TOKEN": "a-token-of-the-tests",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_worker_niceness": "0",  # 15 by default: on a busy machine they would get no time
    }
    options = {
        "port": port,
        "dashboard-port": dashboard,
        "dashboard-agent-listen-port": agent,
        "ray-client-server-port": client,
        "num-cpus": 2,
        "temp-dir": temporary,
    }
    command = [binaries / "ray", "start", "--head", "--block", "--disable-usage-stats"]
    with (home / "head.log").open("w") as log:
        process = subprocess.Popen(
            [*command, *(f"--{name}={value}" for name, value in options.items())],
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        wait_for_start(process, home / "head.log")
        yield Head(f"http://127.0.0.1:{dashboard}", home, here, environment)
    finally:
        process.terminate()
        process.wait(timeout=60)
        shutil.rmtree(temporary, ignore_errors=True)


def wait_for_start(process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(240):
        if "Ray runtime started" in log.read_text():
            return
        assert process.poll() is None, log.read_text()
        time.sleep(0.5)
    raise AssertionError(log.read_text())


@pytest.fixture(scope="module")
def direct(head: Head) -> Path:
    """The same search without a cluster."""
    head.evounet("search", *SEARCH, "--run", "direct")
    return head.here / "direct"


def wait_for_decision(head: Head, job: str) -> None:
    end = time.monotonic() + 600
    while not (head.home / "evounet-runs" / job / "state.json").exists():
        status = head.evounet("jobs", "status", job, "--address", head.address)
        assert f"{job}: FAILED" not in status
        assert time.monotonic() < end, status


def wait_until(head: Head, job: str, status: str) -> None:
    for _ in range(60):
        if f"{job}: {status}" in head.evounet("jobs", "status", job, "--address", head.address):
            return
        time.sleep(1)
    raise AssertionError(f"{job} never was {status}")


def test_a_search_on_a_cluster_is_the_search_itself(head: Head, direct: Path) -> None:
    printed = head.evounet("submit", *SEARCH, "--address", head.address, "--run", "fetched")
    fetched = head.here / "fetched"
    assert "round 1: architectures" in printed
    assert "report: fetched/report.html" in printed
    assert outcome(fetched) == outcome(direct)
    assert {path.name for path in fetched.iterdir() if not path.name.startswith(".")} == {
        path.name for path in direct.iterdir() if not path.name.startswith(".")
    }
    head.evounet("export", fetched, "--format", "diffusers", "--out", "unet")


def test_a_search_that_is_stopped_resumes_to_the_same_end(head: Head, direct: Path) -> None:
    at = ("--address", head.address)
    printed = head.evounet("submit", *SEARCH, *at, "--detach", "--run", "resumed")
    job = printed.split("job: ")[1].split()[0]
    wait_for_decision(head, job)
    assert f"jobs resume {job}" in head.evounet("jobs", "stop", job, *at)
    wait_until(head, job, "STOPPED")
    head.evounet("jobs", "fetch", job, *at, "--run", "resumed", "--no-checkpoints")
    assert not (head.here / "resumed" / "spec.json").exists()
    head.evounet("jobs", "resume", job, *at, "--run", "resumed")
    assert outcome(head.here / "resumed") == outcome(direct)
    listed = head.evounet("jobs", "list", *at)
    assert "STOPPED" in listed
    assert "-fetch-" not in listed


def test_a_whole_run_on_a_cluster_leaves_its_pipeline(head: Head) -> None:
    """Resumed, it does no stage again; what only that needs stays on the head."""
    at = ("--address", head.address, "--run", "whole")
    stages = settings('whole.stages=["decoder", "steps"]')
    printed = head.evounet("submit", "shapes_full", "--command", "run", *stages, *at)
    assert "report: whole/report.html" in printed
    assert (head.here / "whole" / "pipeline" / "model_index.json").is_file()
    assert not list((head.here / "whole").rglob("pairs"))
    job = printed.split("job: ")[1].split()[0]
    assert " run " in head.evounet("jobs", "list", *at[:2])
    again = head.evounet("jobs", "resume", job, *at)
    assert "decoder: done already" in again
    assert "steps: done already" in again
    head.evounet("jobs", "fetch", job, *at, "--checkpoints")
    assert list((head.here / "whole").rglob("pairs"))


def test_a_sweep_on_a_cluster_leaves_its_trials(head: Head) -> None:
    sweep = ["sweep.trials=2", "sweep.parameters.training.round.learning_rate=[1e-4, 2e-4]"]
    options = [part for setting in sweep for part in ("--set", setting)]
    at = ("--address", head.address, "--run", "sweep")
    printed = head.evounet("submit", *SEARCH, *options, "--command", "sweep", *at)
    assert "run folder: sweep" in printed
    assert len(list((head.here / "sweep").glob("trial-*/report.html"))) == 2


def test_what_a_search_refuses_on_the_cluster_is_told_here(head: Head) -> None:
    options = ("--address", head.address, "--run", "refused", "--set", "model.supernet=/lost.st")
    printed = head.evounet("submit", "demo", *options, code=2)
    assert "has ended early: exit code 2: evounet: /lost.st" in printed
    assert not (head.here / "refused").exists()


def test_a_cluster_does_not_let_in_who_has_no_token(head: Head) -> None:
    address = ("--address", head.address)
    assert "asks for a token" in head.evounet("jobs", "list", *address, code=2, RAY_AUTH_TOKEN="")
    printed = head.evounet("jobs", "list", *address, code=2, RAY_AUTH_TOKEN="wrong")
    assert "refuses the token" in printed
