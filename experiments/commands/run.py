"""``evounet run``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.commands.options import Overrides


def run(
    experiment: Annotated[Path, typer.Argument(help="experiment file, or name of a preset")],
    run: Annotated[
        Path | None, typer.Option(help="run folder; runs/NAME of the experiment by default")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="replace a run that is there already")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="tell what it will do, need and take; write nothing")
    ] = False,
    pass_ms: Annotated[
        float | None,
        typer.Option(
            metavar="MS",
            min=0,
            help="with --dry-run: time of a UNet pass on your GPU, a guided picture",
        ),
    ] = None,
    set_: Overrides = None,
) -> None:
    """Do the whole paper: search the UNet, shrink the decoder, distil the steps, compare.

    Interrupted, it goes on where it was when called again; stages that are done are not done
    again, unless their settings or what they build on have changed.

    Example: evounet run shapes_full --run runs/full
    """
    from experiments.console import open_console
    from experiments.experiment import load_experiment
    from experiments.run_log import RunLog
    from experiments.whole.dry_run import look_ahead
    from experiments.whole.folder import WholeFolder
    from experiments.whole.run import check, run_whole
    from experiments.whole.stages import WholeRun

    resolved = load_experiment(experiment, list(set_ or [])).model_copy(update={"sweep": None})
    if dry_run:
        look_ahead(resolved, pass_ms).show(open_console())
        return
    folder = WholeFolder(run or Path("runs") / resolved.name)
    folder.check(overwrite)
    log = RunLog(open_console(), folder.log)
    whole = WholeRun(resolved, folder, log)
    log.console.print("loading models and tables ...")
    check(whole, overwrite)
    folder.begin(resolved, overwrite)
    with folder.locked():
        comparison = run_whole(whole)
    log.console.print(comparison.table())
    for line in comparison.shortfall():
        log.say(line)
    log.say(f"pipeline: {folder.pipeline}, report: {folder.report}")
