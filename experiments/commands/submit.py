"""``evounet submit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.cluster.work import Work
from experiments.commands.jobs import Address, follow_and_fetch
from experiments.commands.options import Overrides


def submit(
    experiment: Annotated[Path, typer.Argument(help="experiment file, or name of a preset")],
    address: Address = None,
    run: Annotated[
        Path | None, typer.Option(help="folder to fetch it into; runs/NAME by default")
    ] = None,
    work: Annotated[
        Work, typer.Option("--command", help="what to do there: 'evounet search', sweep or run")
    ] = Work.SEARCH,
    workers: Annotated[int | None, typer.Option(help="number of Ray evaluators")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="do not wait for the end")] = False,
    set_: Overrides = None,
) -> None:
    """Search on a cluster: send the experiment, follow the log, fetch the run folder.

    With --command likewise a sweep or the whole paper. See docs/cluster.md. Ctrl-C leaves the job
    running; 'evounet jobs' looks after it.

    Example: evounet submit my.toml --address http://head:8265 --workers 16
    """
    from experiments.cluster.connection import connect
    from experiments.cluster.fetch import check_place
    from experiments.cluster.jobs import command
    from experiments.cluster.submission import submit_run
    from experiments.experiment import load_experiment

    overrides = list(set_ or [])
    if workers is not None:
        overrides.append(f"workers.count={workers}")
    resolved = load_experiment(experiment, overrides)
    folder = run or Path("runs") / resolved.name
    check_place(folder, None)
    client = connect(address)
    job = submit_run(client, resolved, work)
    typer.echo(f"job: {job}")
    if detach:
        typer.echo(f"look at it with '{command(client, 'logs', job)} --follow'")
    else:
        follow_and_fetch(client, job, folder)
