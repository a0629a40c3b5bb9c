"""``evounet forecast``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.commands.options import Overrides


def forecast(
    experiment: Annotated[Path, typer.Argument(help="experiment file, or name of a preset")],
    set_: Overrides = None,
) -> None:
    """Tell how long a search will take, by the number of workers, before it is launched.

    One batch and one step of each training are timed on this machine: call it on one like those
    that the search will run on. Every action counts with all prompts, of which races draw a part.

    Example: evounet forecast my.toml --set evaluation.prompts.count=2000
    """
    from experiments.console import open_console
    from experiments.experiment import load_experiment
    from experiments.forecast import forecast as look_ahead
    from experiments.search_parts import prepare, settle
    from experiments.table_views import print_table

    resolved = load_experiment(experiment, set_ or [])
    console = open_console()
    console.print("loading models and tables, timing a batch and a training step ...")
    parts = settle(prepare(resolved), console)
    ahead = look_ahead(parts)
    print_table(ahead.rounds_table())
    prompts, sampling = len(parts.spec.prompts), parts.spec.sampling
    rate = min(sampling.batch_size, prompts) / ahead.batch_s
    typer.echo(
        f"one evaluator of {resolved.workers.placement} draws and judges {rate:.3g} pictures per "
        f"second on this machine, in {sampling}"
    )
    print_table(ahead.hours_table())
