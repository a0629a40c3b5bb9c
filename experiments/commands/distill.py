"""``evounet distill``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.commands.options import Overrides

app = typer.Typer(no_args_is_help=True, help="Train smaller or quicker models from a teacher.")


@app.callback()
def distill() -> None:
    """Train smaller or quicker models from a teacher."""


@app.command()
def decoder(
    experiment: Annotated[Path, typer.Argument(help="experiment file, or name of a preset")],
    run: Annotated[
        Path | None, typer.Option(help="run folder; runs/NAME of the experiment by default")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="replace a run that is there already")] = False,
    prompts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="draw pairs of its prompts (decoder.pairs.prompts)"),
    ] = None,
    pairs: Annotated[
        int | None, typer.Option(min=1, help="how many to make (decoder.pairs.count)")
    ] = None,
    set_: Overrides = None,
) -> None:
    """Train an efficient image decoder on pictures that its teacher makes (docs/decoder.md).

    Interrupted, it goes on where it was when called again.

    Example: evounet distill decoder decoder --run runs/decoder --pairs 2000
    """
    from experiments.console import open_console
    from experiments.decoder.folder import DecoderFolder
    from experiments.decoder.parts import prepare
    from experiments.decoder.run import distill as run_distillation
    from experiments.experiment import load_experiment
    from experiments.run_log import RunLog

    overrides = list(set_ or [])
    if prompts is not None:
        overrides.append(f"decoder.pairs.prompts.source={str(prompts)!r}")
    if pairs is not None:
        overrides.append(f"decoder.pairs.count={pairs}")
    resolved = load_experiment(experiment, overrides)
    folder = DecoderFolder(run or Path("runs") / resolved.name)
    folder.check(resolved, overwrite)
    log = RunLog(open_console(), folder.log)
    log.console.print("loading models and tables ...")
    parts = prepare(resolved)
    folder.begin(resolved, overwrite)
    with folder.locked():
        comparison = run_distillation(parts, folder, log)
    log.console.print(comparison.table())
    log.say(f"autoencoder: {folder.vae}")


@app.command()
def steps(
    experiment: Annotated[Path, typer.Argument(help="experiment file, or name of a preset")],
    run: Annotated[
        Path | None, typer.Option(help="run folder; runs/NAME of the experiment by default")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="replace a run that is there already")] = False,
    set_: Overrides = None,
) -> None:
    """Train UNets that draw in few steps, stage by stage (docs/steps.md).

    Interrupted, it goes on where it was when called again; stages that are done are not done
    again, unless their settings or what they build on have changed.

    Example: evounet distill steps steps --run runs/steps
    """
    from experiments.console import open_console
    from experiments.experiment import load_experiment
    from experiments.run_log import RunLog
    from experiments.steps.folder import StepsFolder
    from experiments.steps.parts import check_stages, prepare
    from experiments.steps.run import distill as run_distillation

    resolved = load_experiment(experiment, list(set_ or []))
    check_stages(resolved)
    folder = StepsFolder(run or Path("runs") / resolved.name)
    folder.check(overwrite)
    log = RunLog(open_console(), folder.log)
    log.console.print("loading models and tables ...")
    parts = prepare(resolved)
    folder.begin(resolved, overwrite)
    with folder.locked():
        comparison = run_distillation(parts, folder, log)
    log.console.print(comparison.table())
    log.say(f"pipelines: {folder.stages}, report: {folder.report}")
