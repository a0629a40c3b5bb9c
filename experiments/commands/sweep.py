"""``evounet sweep``; ``evounet resume`` goes on with one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.commands.options import Overrides

if TYPE_CHECKING:
    from collections.abc import Mapping

    from experiments.experiment import Experiment
    from experiments.run_log import RunLog
    from experiments.sweep.folder import SweepFolder
    from experiments.sweep.records import Records


def sweep(
    experiment: Annotated[Path, typer.Argument(help="experiment file with a sweep section")],
    run: Annotated[
        Path | None, typer.Option(help="folder; runs/NAME of the experiment by default")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="replace a sweep that is there already")] = False,
    workers: Annotated[int | None, typer.Option(help="number of Ray evaluators of a trial")] = None,
    address: Annotated[str | None, typer.Option(help="of a Ray cluster; local by default")] = None,
    set_: Overrides = None,
) -> None:
    """Search with other hyper-parameters in every trial; those that are behind stop early.

    Each trial is a run folder inside, for 'evounet report', 'compare' and 'export'. A sweep
    that was interrupted goes on with 'evounet resume'. See docs/search.md.

    Example: evounet sweep demo --run runs/sweep --set sweep.trials=4 --set
    'sweep.parameters.training.round.learning_rate={low=5e-5, high=1e-3, log=true}'
    """
    from experiments.console import open_console
    from experiments.experiment import load_experiment
    from experiments.run_log import RunLog
    from experiments.sampling import settle_sampling
    from experiments.sweep.folder import SweepFolder
    from experiments.sweep.plan import check_values, draw_values, sweep_of
    from experiments.sweep.records import Records
    from experiments.sweep.run import check_trials, sweep_session, trial_experiments

    overrides = list(set_ or [])
    if workers is not None:
        overrides.append(f"workers.count={workers}")
    if address is not None:
        overrides.append(f"workers.address={address!r}")
    where = str(experiment)
    resolved = load_experiment(experiment, overrides)
    section = sweep_of(resolved, where)
    check_values(resolved, where)
    folder = SweepFolder(run or Path("runs") / resolved.name)
    folder.check_free(overwrite)
    records = Records.fresh(draw_values(section, resolved.seed))
    log = RunLog(open_console(), folder.log)
    log.console.print("loading models and tables ...")
    check_trials(trial_experiments(resolved, records, where), log.console)
    settled = settle_sampling(resolved, log.console)
    trials = trial_experiments(settled, records, where)
    with sweep_session(trials, section.concurrent):
        folder.create(settled)
        with folder.locked():
            _run(settled, trials, records, folder, log)


def resume_sweep(run: Path, workers: int | None, address: str | None) -> None:
    """Continue an interrupted sweep; with one trial at a time it ends as it would have."""
    from contextlib import nullcontext

    from experiments.console import open_console
    from experiments.run_log import RunLog
    from experiments.sweep.folder import SweepFolder
    from experiments.sweep.plan import draw_values, sweep_of
    from experiments.sweep.records import Records
    from experiments.sweep.run import check_trials, sweep_session, trial_experiments

    folder, where = SweepFolder(run), str(run)
    resolved = folder.load_experiment().on_workers(workers, address)
    section = sweep_of(resolved, where)
    log = RunLog(open_console(), folder.log)
    with folder.locked():
        if folder.trials.exists():
            records = Records.load(folder.trials)
            records.reopen()
        else:
            records = Records.fresh(draw_values(section, resolved.seed))
        trials = trial_experiments(resolved, records, where)
        if trials:
            log.console.print("loading models and tables ...")
            check_trials(trials, log.console)
        with sweep_session(trials, section.concurrent) if trials else nullcontext():
            _run(resolved, trials, records, folder, log)


def _run(
    experiment: Experiment,
    trials: Mapping[str, Experiment],
    records: Records,
    folder: SweepFolder,
    log: RunLog,
) -> None:
    import shlex

    from experiments.sweep.outcome import best_trial, outcomes, trials_csv, trials_table
    from experiments.sweep.plan import sweep_of
    from experiments.sweep.run import run_sweep
    from search.state import write_atomically

    section, go_on = sweep_of(experiment, str(folder.path)), f"'evounet resume {folder.path}'"
    try:
        records.save(folder.trials)
        if trials:
            run_sweep(experiment, trials, records, folder, log)
        found = outcomes(records, folder)
        write_atomically(folder.table, trials_csv(found, section))
    except KeyboardInterrupt:
        log.say(f"interrupted; continue with {go_on}")
        raise
    log.console.print(trials_table(found, section))
    log.say(f"table: {folder.table}")
    best = best_trial(found, section)
    if best is None:
        log.say("no trial has met the target to its end")
    else:
        path = shlex.quote(str(folder.trial(best.name).path))
        log.say(f"best: {best.name}; evounet export {path} --format diffusers --out found-unet")
    if any(each.end == "failed" for each in found):
        log.say(f"trials failed; see their log.txt, and try them again with {go_on}")
        raise typer.Exit(1)
