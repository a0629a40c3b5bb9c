"""A run folder comes from the head of a cluster, through the log of a job that packs it."""

from __future__ import annotations

import os
import secrets
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from experiments.cluster.archive import Receiver, unpack
from experiments.cluster.connection import ClusterError, asking
from experiments.cluster.jobs import RunJob, failure, follow
from experiments.cluster.work import Work
from experiments.progress import OnProgress, track

_ORIGIN = ".fetched"  # in a fetched folder: which one it is a copy of


def fetch_run(
    client: Any, job: RunJob, folder: Path, console: Console, checkpoints: bool | None = None
) -> None:
    """Bring a job's run folder here, as it is now, finished or not.

    It appears whole, or replaces what was fetched of the same run before.

    Args:
        client: of the cluster.
        job: the one that writes it.
        folder: where to put it.
        console: for the progress.
        checkpoints: whether what only a resume needs comes too. By default of a search alone:
            a sweep has it in every trial, and a whole run the pairs of its decoder too.

    Raises:
        ClusterError: if something else is in the place, or there is no run folder on the head.
        ArchiveError: if it came incompletely, or holds what no run folder does.
    """
    if checkpoints is None:
        checkpoints = job.work is Work.SEARCH
    check_place(folder, job.run)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        tar, draft = Path(temporary) / "run.tar", Path(temporary) / "run"
        _receive(client, job, tar, console, checkpoints)
        draft.mkdir()
        unpack(tar, draft)
        tar.unlink()
        (draft / _ORIGIN).write_text(job.run, encoding="utf-8")
        check_place(folder, job.run)
        if folder.exists():
            os.replace(folder, Path(temporary) / "earlier")
        os.replace(draft, folder)


def check_place(folder: Path, run: str | None) -> None:
    """Refuse to write over anything but what was fetched of the same run before.

    Args:
        folder: where a run folder is to come.
        run: which one, on the head; None for a new one.

    Raises:
        ClusterError: if something else is there.
    """
    if not folder.exists():
        return
    if folder.is_dir():
        origin = folder / _ORIGIN
        if not any(folder.iterdir()):
            return
        if run is not None and origin.is_file() and origin.read_text(encoding="utf-8") == run:
            return
    raise ClusterError(f"{folder}: already there, and from another run; give another --run")


def _receive(client: Any, job: RunJob, tar: Path, console: Console, checkpoints: bool) -> None:
    packing = f"{job.id}-fetch-{secrets.token_hex(3)}"
    options = "" if checkpoints else " --no-checkpoints"
    with asking(client):
        client.submit_job(
            entrypoint=f"evounet jobs pack {job.place}{options}", submission_id=packing
        )
    try:
        with tar.open("wb") as file, ExitStack() as stack:
            receiver = Receiver(file)
            told: list[OnProgress] = []

            def take(text: str) -> None:
                receiver.feed(text)
                if receiver.expected and not told:
                    total = receiver.expected // 1000
                    told.append(stack.enter_context(track(console, "fetching, kB", total)))
                for on_progress in told:
                    # The tar is bigger than the files in it, so the end is told only when it came.
                    on_progress(min(receiver.received, receiver.expected - 1) // 1000, {})

            follow(client, packing, take)
            for on_progress in told:
                on_progress(receiver.expected // 1000, {})
        if reason := failure(client, packing):
            raise ClusterError(f"{job.run} cannot be fetched from {client.get_address()}: {reason}")
        receiver.check()
    finally:
        with asking(client):
            client.stop_job(packing)
    with asking(client):
        client.delete_job(packing)
