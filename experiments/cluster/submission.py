"""Experiments are sent to a cluster, as jobs that write their run folders on its head."""

from __future__ import annotations

import secrets
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import ValidationError

from experiments.cluster.connection import ClusterError, asking
from experiments.cluster.jobs import EXPERIMENT, NAME, RUN, WORK, RunJob
from experiments.cluster.upload import EXPERIMENT_FILE, write_job_files
from experiments.cluster.work import Work
from experiments.experiment import Experiment

_RUNS = "evounet-runs"  # in the home folder on the head
# Ray gives a job's command one thread, as it asks for no CPUs. But it trains, for which it has the
# head's cores; with other threads than elsewhere its sums would be others too.
_EVOUNET = "env -u OMP_NUM_THREADS evounet"


def submit_run(client: Any, experiment: Experiment, work: Work = Work.SEARCH) -> str:
    """Send an experiment to a cluster; the job's id.

    Raises:
        ClusterError: if the experiment names files that cannot go with it.
    """
    job = _new_id(experiment.name)
    run = f"{_RUNS}/{job}"
    command = f'{_EVOUNET} {work.value} {EXPERIMENT_FILE} --run "$HOME"/{run}'
    settings = experiment.model_dump_json()
    metadata = {RUN: run, NAME: experiment.name, EXPERIMENT: settings, WORK: work.value}
    _submit(client, job, command, experiment, metadata)
    return job


def resume_run(client: Any, job: RunJob) -> str:
    """Send the continuation of a job, in the same run folder; the new job's id.

    The files that its experiment names have to be here still.

    Raises:
        ClusterError: if they cannot go with it, or this evounet does not read the experiment.
    """
    try:
        experiment = Experiment.model_validate_json(job.settings)
    except ValidationError as error:
        raise ClusterError(
            f"job {job.id} was submitted by another version of evounet; resume it with that one"
        ) from error
    new = _new_id(job.name)
    metadata = {RUN: job.run, NAME: job.name, EXPERIMENT: job.settings, WORK: job.work.value}
    whole = job.work is Work.RUN  # goes on when it is called again
    call = f"run {EXPERIMENT_FILE} --run" if whole else "resume"
    _submit(client, new, f"{_EVOUNET} {call} {job.place}", experiment, metadata)
    return new


def _new_id(name: str) -> str:
    return f"{name}-{secrets.token_hex(3)}"


def _submit(
    client: Any, job: str, command: str, experiment: Experiment, metadata: dict[str, str]
) -> None:
    with TemporaryDirectory() as folder:
        variables = write_job_files(experiment, Path(folder))
        with asking(client):
            client.submit_job(
                entrypoint=command,
                submission_id=job,
                runtime_env={"working_dir": folder, "env_vars": variables},
                metadata=metadata,
            )
