"""``evounet search`` and ``evounet resume``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.commands.options import Overrides
from experiments.commands.sweep import resume_sweep

if TYPE_CHECKING:
    from evaluators.pool import EvaluatorPool
    from experiments.run_folder import RunFolder
    from experiments.run_log import RunLog
    from experiments.search_parts import Parts


def search(
    experiment: Annotated[Path, typer.Argument(help="experiment file, or name of a preset")],
    run: Annotated[
        Path | None, typer.Option(help="run folder; runs/NAME of the experiment by default")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="replace a run that is there already")] = False,
    workers: Annotated[int | None, typer.Option(help="number of Ray evaluators")] = None,
    address: Annotated[str | None, typer.Option(help="of a Ray cluster; local by default")] = None,
    from_: Annotated[
        Path | None,
        typer.Option("--from", metavar="RUN", help="begin with the scores of another run"),
    ] = None,
    set_: Overrides = None,
) -> None:
    """Search an efficient UNet: evaluate all actions, execute the best, until the target is met.

    Example: evounet search demo --run runs/mine --set latency.target_ratio=0.4
    """
    from experiments.console import open_console
    from experiments.earlier_scores import check_earlier, take_scores
    from experiments.experiment import load_experiment
    from experiments.run_folder import RunFolder
    from experiments.run_log import RunLog
    from experiments.search_parts import prepare, settle
    from experiments.search_run import open_pool

    overrides = list(set_ or [])
    if workers is not None:
        overrides.append(f"workers.count={workers}")
    if address is not None:
        overrides.append(f"workers.address={address!r}")
    resolved = load_experiment(experiment, overrides).model_copy(update={"sweep": None})
    folder = RunFolder(run or Path("runs") / resolved.name)
    folder.check_free(overwrite)
    earlier = None if from_ is None else RunFolder(from_)
    if earlier is not None:
        check_earlier(earlier, folder, resolved)
    log = RunLog(open_console(), folder.log)
    log.console.print("loading models and tables ...")
    parts = settle(prepare(resolved), log.console)
    with open_pool(parts, folder, log) as pool:
        folder.create(parts.experiment)
        if earlier is not None:
            take_scores(earlier, folder)
        _run(parts, folder, log, pool)


def resume(
    run: Annotated[Path, typer.Argument(help="run folder")],
    workers: Annotated[int | None, typer.Option(help="number of Ray evaluators")] = None,
    address: Annotated[str | None, typer.Option(help="of a Ray cluster; local by default")] = None,
) -> None:
    """Continue an interrupted search, or sweep; it ends as it would have without the interruption.

    Example: evounet resume runs/demo
    """
    from experiments.console import open_console
    from experiments.decoder.folder import refuse_decoders
    from experiments.run_folder import RunFolder
    from experiments.run_log import RunLog
    from experiments.search_parts import prepare
    from experiments.search_run import open_pool
    from experiments.steps.folder import refuse_steps
    from experiments.sweep.folder import is_sweep
    from experiments.whole.folder import refuse_whole

    if is_sweep(run):
        resume_sweep(run, workers, address)
        return
    refuse_decoders(run)
    refuse_steps(run)
    refuse_whole(run)
    folder = RunFolder(run)
    resolved = folder.load_experiment().on_workers(workers, address)
    log = RunLog(open_console(), folder.log)
    log.console.print("loading models and tables ...")
    parts = prepare(resolved)
    with open_pool(parts, folder, log) as pool:
        _run(parts, folder, log, pool)


def _run(parts: Parts, folder: RunFolder, log: RunLog, pool: EvaluatorPool) -> None:
    from experiments.search_run import search as run_search

    try:
        with folder.locked():
            comparison = run_search(parts, folder, log, pool)
    except KeyboardInterrupt:
        log.say(f"interrupted; continue with 'evounet resume {folder.path}'")
        raise
    log.console.print(comparison.table())
    log.say(f"report: {folder.report}")
