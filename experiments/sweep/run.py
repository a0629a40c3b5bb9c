"""``evounet sweep``: the trials of a sweep from wherever they stand to their end.

Ray Tune starts them, hands their reports on and ends them. What a sweep is, stands in its folder:
records in ``trials.json``, and a run folder for each trial. Tune's own files are thrown away.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import ray
from ray import tune
from rich.console import Console

from evaluators.nodes import alive_nodes
from evaluators.pool import check_room, local_cpus
from evaluators.ray_session import ray_session
from experiments.experiment import Experiment
from experiments.progress import track
from experiments.run_log import RunLog
from experiments.search_parts import prepare
from experiments.sweep.folder import SweepFolder
from experiments.sweep.halving import Halving
from experiments.sweep.plan import settings, sweep_of, trial_experiment
from experiments.sweep.records import Records
from experiments.sweep.scheduler import RecordingScheduler
from experiments.sweep.trial import Task, run_trial
from latency_tables.registry import FOLDERS_VARIABLE

_CRASHES = 2  # that a trial is begun again after, each time from its run folder
_HOLD = 0.001  # of the resource that names a node
_QUIET = {  # Tune prints nothing, keeps no results, and lets Ctrl-C through at once
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}


def trial_experiments(
    experiment: Experiment, records: Records, where: str
) -> Mapping[str, Experiment]:
    """The experiments of the trials that have not ended, by name.

    Raises:
        ExperimentError: if a trial's values do not go together.
    """
    return {
        name: trial_experiment(experiment, records[name].values, f"{experiment.name}-{name}", where)
        for name in records.open
    }


def check_trials(experiments: Mapping[str, Experiment], console: Console) -> None:
    """Load and check all that a trial needs, for every trial; writes nothing.

    Raises:
        ValueError: in one line, naming the trial.
    """
    with track(console, "checking trials", len(experiments)) as done:
        for number, (name, experiment) in enumerate(experiments.items(), start=1):
            try:
                prepare(experiment)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
            done(number, {})


@contextmanager
def sweep_session(trials: Mapping[str, Experiment], concurrent: int) -> Iterator[None]:
    """Ray with room for the evaluators of so many trials at a time.

    Raises:
        ConnectionError: if there is no cluster at the experiment's address.
        ValueError: if it has not the room, or is only reached by Ray's client.
    """
    # The most demanding one; they differ at most in the workers that train.
    experiment = max(trials.values(), key=lambda each: each.training.cpus)
    workers, spare_cpus = experiment.workers, experiment.training.cpus
    address = workers.address or os.environ.get("RAY_ADDRESS", "")
    if address.startswith("ray://"):
        raise ValueError(
            f"workers.address {address}: trials write into the sweep's folder, so start the sweep "
            "on a node of the cluster, with --address auto"
        )
    cpus = concurrent * local_cpus(workers.count, workers.placement, spare_cpus)
    least = workers.min_count or workers.count or 1
    with ray_session(cpus, workers.address):
        check_room(concurrent * least, workers.placement, concurrent * spare_cpus)
        yield


def run_sweep(
    experiment: Experiment,
    trials: Mapping[str, Experiment],
    records: Records,
    folder: SweepFolder,
    log: RunLog,
) -> None:
    """Run the trials that have not ended, with Ray connected.

    Args:
        experiment: with the section that is swept.
        trials: that have not ended; see :func:`trial_experiments`.
        records: of the sweep so far; kept up to date, in the folder too.
        folder: of the sweep, held by this process.
        log: of the sweep.
    """
    section, marks = sweep_of(experiment, str(folder.path)), experiment.search.rounds
    for name in trials:
        folder.wait_until_free(name)
        log.say(f"{name}: {', '.join(settings(records[name].values))}")
    variables = {name: os.environ[name] for name in (FOLDERS_VARIABLE,) if name in os.environ}
    task = Task(folder.path.absolute(), trials, marks, Path.cwd(), variables)
    with track(log.console, "trials", len(records.trials)) as done:

        def tell(line: str) -> None:
            log.say(line)
            ended = len(records.trials) - len(records.open)
            if ended:
                done(ended, {})

        halving = Halving(section, marks, records.reports)
        scheduler = RecordingScheduler(folder, records, halving, tell)
        _fit(task, section.concurrent, scheduler, folder.scratch)
        scheduler.close()


def _fit(task: Task, concurrent: int, scheduler: RecordingScheduler, scratch: Path) -> None:
    """Let Tune run the task's trials."""
    os.environ.update(_QUIET)
    shutil.rmtree(scratch, ignore_errors=True)
    # A trial takes no CPU, they are all its evaluators'; but it has to be where its folder is.
    trainable = tune.with_resources(
        tune.with_parameters(run_trial, task=task), {_this_node(): _HOLD}
    )
    try:
        tune.Tuner(
            trainable,
            param_space={"trial": tune.grid_search(list(task.experiments))},
            tune_config=tune.TuneConfig(scheduler=scheduler, max_concurrent_trials=concurrent),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(scratch.absolute()),
                failure_config=tune.FailureConfig(max_failures=_CRASHES),
                verbose=0,
            ),
        ).fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _this_node() -> str:
    """Ray's resource that only this node has."""
    node = alive_nodes()[ray.get_runtime_context().get_node_id()]
    return f"node:{node['NodeManagerAddress']}"
