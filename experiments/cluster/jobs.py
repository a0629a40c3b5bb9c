"""What a cluster runs as Ray Jobs for evounet: which there are, their logs, how they end."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from experiments.cluster.connection import ClusterError, asking
from experiments.cluster.work import Work

# Names in a job's metadata.
RUN, NAME, EXPERIMENT = "evounet_run", "evounet_name", "evounet_experiment"
WORK = "evounet_work"
_REFUSED, _COMMAND_NOT_FOUND = 2, 127  # exit codes: of evounet for bad input, of a shell
_LOST = (aiohttp.ClientError, RuntimeError, OSError)
_RETRIES, _RETRY_S = 30, 1.0


@dataclass(frozen=True)
class RunJob:
    """A search, a sweep or a whole run on a cluster, as the cluster knows it.

    Attributes:
        id: of the job.
        work: what it does.
        status: ``PENDING``, ``RUNNING``, ``SUCCEEDED``, ``FAILED`` or ``STOPPED``.
        run: the run folder, below the home folder on the cluster's head.
        name: of the experiment.
        settings: the experiment as JSON.
        started: seconds since the epoch.
        ended: likewise; None while the job goes on.
    """

    id: str
    work: Work
    status: str
    run: str
    name: str
    settings: str
    started: float
    ended: float | None

    @property
    def place(self) -> str:
        """The run folder, as a shell on the head takes it."""
        return f'"$HOME"/{shlex.quote(self.run)}'


def list_runs(client: Any) -> list[RunJob]:
    """What a cluster knows of evounet, the newest first; other jobs are left out."""
    with asking(client):
        jobs = client.list_jobs()
    found = [_run(job) for job in jobs if RUN in (job.metadata or {})]
    return sorted(found, key=lambda job: job.started, reverse=True)


def find_run(client: Any, job: str) -> RunJob:
    """One of them.

    Raises:
        ClusterError: if the cluster knows no such job.
    """
    for run in list_runs(client):
        if run.id == job:
            return run
    raise ClusterError(
        f"no job '{job}' of evounet at {client.get_address()}; 'evounet jobs list' shows those "
        "that there are"
    )


def _run(details: Any) -> RunJob:
    work = details.metadata.get(WORK, Work.SEARCH)  # earlier versions sent nothing else
    return RunJob(
        id=details.submission_id,
        work=Work(work),
        status=details.status.value,
        run=details.metadata[RUN],
        name=details.metadata[NAME],
        settings=details.metadata[EXPERIMENT],
        started=(details.start_time or 0) / 1000,
        ended=details.end_time / 1000 if details.end_time else None,
    )


def follow(client: Any, job: str, show: Callable[[str], None]) -> None:
    """Show the log of any job from its beginning until the job ends, through lost connections.

    Raises:
        ClusterError: if the cluster cannot be reached any more.
    """
    log = _Log(show)
    failures = 0
    while True:
        seen, error = log.shown, None
        try:
            asyncio.run(log.read(client.tail_job_logs(job)))
            if client.get_job_info(job).status.is_terminal():
                return
        except _LOST as lost:
            error = lost
        failures = 0 if log.shown > seen else failures + 1
        if failures == _RETRIES:
            raise ClusterError(
                f"lost the connection to {client.get_address()} ({error}); the job is not touched: "
                f"look again with '{command(client, 'logs', job)} --follow'"
            )
        time.sleep(_RETRY_S)


class _Log:
    """Shows a log once, though it comes from its beginning with every new connection."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self.shown = 0
        self._show = show

    async def read(self, pieces: Any) -> None:
        place = 0
        async for piece in pieces:
            new = piece[max(0, self.shown - place) :]
            place += len(piece)
            if new:
                self.shown += len(new)
                self._show(new)


def check_succeeded(client: Any, job: str) -> None:
    """Make sure that a job that is over has come to its end.

    Raises:
        ClusterError: saying why it has not, and what can be done, in one line.
    """
    reason = failure(client, job)
    if reason is None:
        return
    if client.get_job_info(job).driver_exit_code != _REFUSED:
        reason += f"; go on with '{command(client, 'resume', job)}'"
    raise ClusterError(f"job {job} has ended early: {reason}")


def failure(client: Any, job: str) -> str | None:
    """Why any job has ended early, in one line; None if it has not."""
    with asking(client):
        details = client.get_job_info(job)
    if details.status.value == "SUCCEEDED":
        return None
    if details.status.value == "STOPPED":
        return "it was stopped"
    if details.driver_exit_code == _COMMAND_NOT_FOUND:
        return (
            "there is no evounet on the cluster's head (install it on every node, and call "
            "'ray start' where its environment is activated)"
        )
    if details.driver_exit_code is None:
        return " ".join((details.message or "for no reason that Ray knows").split())
    return f"exit code {details.driver_exit_code}: {last_line(client, job)}"


def last_line(client: Any, job: str) -> str:
    """The last line of a job's log."""
    with asking(client):
        lines = client.get_job_logs(job).split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "no log")


def command(client: Any, name: str, job: str) -> str:
    """What to type for a job, here and later."""
    return f"evounet jobs {name} {job} --address {client.get_address()}"
