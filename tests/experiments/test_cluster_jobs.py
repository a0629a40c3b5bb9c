"""Following, judging and fetching jobs, on a cluster that is made up."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from ray.job_submission import JobStatus
from rich.console import Console

from experiments.cluster import jobs
from experiments.cluster.archive import ArchiveError, pack
from experiments.cluster.connection import ClusterError
from experiments.cluster.fetch import check_place, fetch_run
from experiments.cluster.jobs import (
    EXPERIMENT,
    NAME,
    RUN,
    RunJob,
    check_succeeded,
    find_run,
    follow,
    list_runs,
)
from experiments.cluster.submission import resume_run, submit_run
from experiments.cluster.work import Work
from experiments.experiment import Experiment

SEARCH = RunJob("demo-1", Work.SEARCH, "SUCCEEDED", "evounet-runs/demo-1", "demo", "{}", 0.0, 1.0)


@dataclass
class Details:
    status: JobStatus
    driver_exit_code: int | None = 0
    message: str = ""


@dataclass
class Cluster:
    """Ray's job client, as far as it is used; jobs print ``log`` and end with ``details``.

    Attributes:
        breaks: after how many characters each of the first connections is lost.
        folder: what the job that packs a run folder finds.
    """

    log: str = ""
    details: Details = field(default_factory=lambda: Details(JobStatus.SUCCEEDED))
    breaks: list[int] = field(default_factory=list)
    folder: Path | None = None
    deleted: list[str] = field(default_factory=list)

    def get_address(self) -> str:
        return "http://head:8265"

    def get_job_info(self, job: str) -> Details:
        return self.details

    def get_job_logs(self, job: str) -> str:
        return self.log

    def list_jobs(self) -> list[Any]:
        return []

    async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
        end = self.breaks.pop(0) if self.breaks else len(self.log)
        for start in range(0, end, 7):
            yield self.log[start : min(start + 7, end)]
        if end < len(self.log):
            raise RuntimeError("WebSocket connection closed unexpectedly")

    def submit_job(self, *, entrypoint: str, submission_id: str) -> str:
        assert self.folder is not None
        out = io.StringIO()
        pack(self.folder, out, checkpoints="--no-checkpoints" not in entrypoint)
        self.log = out.getvalue()
        return submission_id

    def stop_job(self, job: str) -> bool:
        return False

    def delete_job(self, job: str) -> None:
        self.deleted.append(job)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_RETRY_S", 0.0)


def test_every_letter_of_a_log_is_shown_once_through_lost_connections() -> None:
    log = "".join(f"line {i}\n" for i in range(100))
    shown: list[str] = []
    follow(Cluster(log, breaks=[0, 50, 20, 333, 333, 500]), "demo-1", shown.append)
    assert "".join(shown) == log


def test_a_cluster_that_stays_away_is_given_up_with_the_way_back() -> None:
    cluster = Cluster("never seen", breaks=[0] * 1000)
    with pytest.raises(ClusterError, match="evounet jobs logs demo-1 --address http://head:8265"):
        follow(cluster, "demo-1", lambda text: None)


@pytest.mark.parametrize(
    ("details", "log", "told"),
    [
        (Details(JobStatus.FAILED, 127), "sh: evounet: not found\n", "no evounet on the cluster"),
        (Details(JobStatus.FAILED, 1), "Trace\nMemoryError\n", "code 1: MemoryError; go on with"),
        (Details(JobStatus.FAILED, None, "the node\ndied"), "", "the node died; go on with"),
        (Details(JobStatus.STOPPED, None), "", "it was stopped; go on with 'evounet jobs resume"),
    ],
    ids=["no evounet", "a bug", "no exit code", "stopped"],
)
def test_why_a_search_ended_early_is_one_line(details: Details, log: str, told: str) -> None:
    with pytest.raises(ClusterError, match=told) as error:
        check_succeeded(Cluster(log, details), "demo-1")
    assert "\n" not in str(error.value)


def test_a_search_that_was_refused_is_not_to_be_resumed() -> None:
    cluster = Cluster("evounet: unknown table 'x'\n", Details(JobStatus.FAILED, 2))
    with pytest.raises(ClusterError, match=r"code 2: evounet: unknown table 'x'$"):
        check_succeeded(cluster, "demo-1")


def test_a_job_that_is_not_there_is_refused() -> None:
    with pytest.raises(ClusterError, match="no job 'demo-1' of evounet at http://head:8265"):
        find_run(Cluster(), "demo-1")


def test_a_cluster_that_breaks_down_is_one_line() -> None:
    class Broken(Cluster):
        def list_jobs(self) -> list[Any]:
            raise RuntimeError("Request failed with status code 500: Traceback\n ...\nno GCS")

    with pytest.raises(ClusterError, match=r"cannot answer \(.* no GCS\); see whether") as error:
        list_runs(Broken())
    assert "\n" not in str(error.value)


# --- sending


@dataclass
class Sent:
    """What a cluster keeps of a job, as Ray names it."""

    submission_id: str
    entrypoint: str
    metadata: dict[str, str]
    status: JobStatus = JobStatus.STOPPED
    start_time: int | None = 1000
    end_time: int | None = None


class Taking(Cluster):
    """Keeps what it is sent, the newest first."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[Sent] = []

    def submit_job(
        self, *, entrypoint: str, submission_id: str, runtime_env: Any, metadata: dict[str, str]
    ) -> str:
        assert (Path(runtime_env["working_dir"]) / "experiment.toml").is_file()
        self.sent.insert(0, Sent(submission_id, entrypoint, metadata))
        return submission_id

    def list_jobs(self) -> list[Any]:
        return self.sent


@pytest.mark.parametrize(
    ("work", "again"),
    [
        (Work.SEARCH, "resume {place}"),
        (Work.SWEEP, "resume {place}"),
        (Work.RUN, "run experiment.toml --run {place}"),
    ],
)
def test_every_command_is_sent_and_goes_on_in_the_same_folder(work: Work, again: str) -> None:
    cluster = Taking()
    values = {"name": "mine", "latency": {"tables": ["epyc-1core-fp32"], "target_ratio": 0.5}}
    job = submit_run(cluster, Experiment.model_validate(values), work)
    place = f'"$HOME"/evounet-runs/{job}'
    evounet = "env -u OMP_NUM_THREADS evounet"  # with the head's own threads
    assert cluster.sent[0].entrypoint == f"{evounet} {work.value} experiment.toml --run {place}"
    for _ in range(2):  # what was resumed is resumed again
        job = resume_run(cluster, find_run(cluster, job))
        assert cluster.sent[0].entrypoint == f"{evounet} {again.format(place=place)}"
        assert find_run(cluster, job).work is work


def test_jobs_of_earlier_versions_are_searches() -> None:
    cluster = Taking()
    cluster.sent = [
        Sent("demo-1", "", {RUN: "evounet-runs/demo-1", NAME: "demo", EXPERIMENT: "{}"})
    ]
    assert find_run(cluster, "demo-1").work is Work.SEARCH


# --- fetching


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    folder = tmp_path / "remote"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "round-1.safetensors").write_bytes(bytes(100_000))
    (folder / "experiment.toml").write_text("")
    (folder / "log.txt").write_text("one\n")
    return folder


def fetch(cluster: Cluster, folder: Path, job: RunJob = SEARCH, **options: bool) -> None:
    fetch_run(cluster, job, folder, Console(file=io.StringIO()), **options)


def test_a_run_is_fetched_and_fetched_again_as_it_goes_on(remote: Path, tmp_path: Path) -> None:
    here, cluster = tmp_path / "runs" / "demo", Cluster(folder=remote, breaks=[1000, 2000])
    fetch(cluster, here)
    assert (here / "checkpoints" / "round-1.safetensors").read_bytes() == bytes(100_000)
    (remote / "log.txt").write_text("one\ntwo\n")
    fetch(cluster, here, checkpoints=False)
    assert (here / "log.txt").read_text() == "one\ntwo\n"
    assert not (here / "checkpoints").exists()
    assert [path.name for path in here.parent.iterdir()] == ["demo"]
    assert len(cluster.deleted) == 2


def test_what_only_a_resume_needs_comes_of_a_search_alone(remote: Path, tmp_path: Path) -> None:
    """At any depth: of a whole run's search, and of its decoder."""
    for part in ("search/checkpoints", "decoder/pairs", "pipeline"):
        (remote / part).mkdir(parents=True)
        (remote / part / "weights.safetensors").write_bytes(bytes(10))
    whole, cluster = replace(SEARCH, work=Work.RUN), Cluster(folder=remote)
    fetch(cluster, tmp_path / "some", whole)
    fetch(cluster, tmp_path / "all", whole, checkpoints=True)
    for name, expected in (("some", 1), ("all", 4)):
        assert len(list((tmp_path / name).rglob("*.safetensors"))) == expected
    assert (tmp_path / "some" / "pipeline" / "weights.safetensors").is_file()


def test_a_run_that_came_incompletely_leaves_what_was_there(remote: Path, tmp_path: Path) -> None:
    here, cluster = tmp_path / "runs" / "demo", Cluster(folder=remote)
    fetch(cluster, here)
    (remote / "log.txt").write_text("one\ntwo\n")

    class Cut(Cluster):
        def submit_job(self, *, entrypoint: str, submission_id: str) -> str:
            super().submit_job(entrypoint=entrypoint, submission_id=submission_id)
            self.log = self.log[:-200]
            return submission_id

    with pytest.raises(ArchiveError, match="incompletely"):
        fetch(Cut(folder=remote), here)
    assert (here / "log.txt").read_text() == "one\n"
    assert [path.name for path in here.parent.iterdir()] == ["demo"]


def test_a_folder_of_another_run_is_not_written_over(remote: Path, tmp_path: Path) -> None:
    here, cluster = tmp_path / "runs" / "demo", Cluster(folder=remote)
    fetch(cluster, here)
    other = replace(SEARCH, id="demo-2", run="evounet-runs/demo-2")
    with pytest.raises(ClusterError, match="from another run; give another --run"):
        fetch(cluster, here, other)
    with pytest.raises(ClusterError, match="already there"):
        check_place(here, None)
    with pytest.raises(ClusterError, match="already there"):
        check_place(here / "log.txt", SEARCH.run)
    assert (here / "log.txt").read_text() == "one\n"
