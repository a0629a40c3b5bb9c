"""``evounet jobs``: what becomes of searches that ``evounet submit`` has sent to a cluster."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, help="Look after the searches of 'evounet submit'.")

Job = Annotated[str, typer.Argument(metavar="JOB", help="as 'evounet submit' printed it")]
Address = Annotated[
    str | None,
    typer.Option(
        help="of the cluster's dashboard, http://HEAD:8265; "
        "RAY_API_SERVER_ADDRESS, RAY_ADDRESS or this machine's by default"
    ),
]
Run = Annotated[Path | None, typer.Option(help="folder to fetch it into; runs/NAME by default")]


@app.command("list")
def list_(address: Address = None) -> None:
    """List the searches that a cluster knows, the newest first.

    Example: evounet jobs list --address http://head:8265
    """
    import time

    from rich import box
    from rich.table import Table

    from experiments.cluster.connection import connect
    from experiments.cluster.jobs import list_searches
    from experiments.table_views import print_table

    table = Table("job", "experiment", "status", "started", "hours", box=box.SIMPLE)
    for job in list_searches(connect(address)):
        started = time.strftime("%Y-%m-%d %H:%M", time.localtime(job.started))
        hours = ((job.ended or time.time()) - job.started) / 3600
        table.add_row(job.id, job.name, job.status, started, f"{hours:.2f}")
    print_table(table)


@app.command()
def status(job: Job, address: Address = None) -> None:
    """Show how a search stands: its status, the last line of its log, where its run folder is.

    Example: evounet jobs status demo-1f2e3d --address http://head:8265
    """
    from experiments.cluster.connection import connect
    from experiments.cluster.jobs import find_search, last_line

    client = connect(address)
    search = find_search(client, job)
    typer.echo(f"{search.id}: {search.status}")
    typer.echo(f"log: {last_line(client, job)}")
    typer.echo(f"run folder on the head: ~/{search.run}")


@app.command()
def logs(
    job: Job,
    follow: Annotated[
        bool, typer.Option("--follow", help="until the search ends, then fetch its run folder")
    ] = False,
    run: Run = None,
    address: Address = None,
) -> None:
    """Print a search's log.

    Example: evounet jobs logs demo-1f2e3d --follow --address http://head:8265
    """
    from experiments.cluster.connection import connect
    from experiments.cluster.fetch import check_place
    from experiments.cluster.jobs import find_search

    if run is not None and not follow:
        raise ValueError("--run: the run folder is fetched with --follow alone; add it")
    client = connect(address)
    search = find_search(client, job)
    if not follow:
        typer.echo(client.get_job_logs(job), nl=False)
        return
    folder = run or Path("runs") / search.name
    check_place(folder, search.run)
    follow_and_fetch(client, job, folder)


@app.command()
def stop(job: Job, address: Address = None) -> None:
    """Stop a search. Its run folder stays on the head, and 'evounet jobs resume' goes on with it.

    Example: evounet jobs stop demo-1f2e3d --address http://head:8265
    """
    from experiments.cluster.connection import connect
    from experiments.cluster.jobs import command, find_search

    client = connect(address)
    search = find_search(client, job)
    if client.stop_job(job):
        typer.echo(f"{job}: stopping; go on with '{command(client, 'resume', job)}'")
    else:
        typer.echo(f"{job}: is over already ({search.status})")


@app.command()
def fetch(
    job: Job,
    run: Run = None,
    checkpoints: Annotated[
        bool, typer.Option(help="also the supernet's weights after every round")
    ] = True,
    address: Address = None,
) -> None:
    """Fetch a search's run folder as it is now; one fetched of it before is replaced.

    Example: evounet jobs fetch demo-1f2e3d --address http://head:8265
    """
    from experiments.cluster.connection import connect
    from experiments.cluster.fetch import fetch_run
    from experiments.cluster.jobs import find_search
    from experiments.console import open_console

    client = connect(address)
    search = find_search(client, job)
    folder = run or Path("runs") / search.name
    fetch_run(client, search, folder, open_console(), checkpoints)
    typer.echo(f"run folder: {folder}")


@app.command()
def resume(job: Job, run: Run = None, address: Address = None) -> None:
    """Continue a search that was stopped or has failed, as a new job in the same run folder.

    Call it where the search was submitted: the local files of its experiment are sent once more.

    Example: evounet jobs resume demo-1f2e3d --address http://head:8265
    """
    from experiments.cluster.connection import connect
    from experiments.cluster.fetch import check_place
    from experiments.cluster.jobs import find_search
    from experiments.cluster.submission import resume_search

    client = connect(address)
    search = find_search(client, job)
    folder = run or Path("runs") / search.name
    check_place(folder, search.run)
    new = resume_search(client, search)
    typer.echo(f"job: {new}")
    follow_and_fetch(client, new, folder)


@app.command(hidden=True)
def pack(
    run: Annotated[Path, typer.Argument(help="run folder")],
    checkpoints: Annotated[bool, typer.Option(help="also checkpoints/")] = True,
) -> None:
    """Print a run folder as lines of text: what 'fetch' runs on the head.

    Example: evounet jobs pack runs/demo
    """
    from experiments.cluster.archive import pack as write

    write(run, sys.stdout, checkpoints)


def follow_and_fetch(client: Any, job: str, folder: Path) -> None:
    """Show a search's log until it ends, and fetch its run folder.

    Raises:
        ClusterError, ArchiveError: if the search has ended early, or cannot be fetched.
    """
    from experiments.cluster.fetch import fetch_run
    from experiments.cluster.jobs import check_succeeded, command, find_search, follow
    from experiments.console import open_console

    try:
        follow(client, job, lambda text: typer.echo(text, nl=False))
    except KeyboardInterrupt:
        typer.echo(
            f"\n{job} goes on. Look again with '{command(client, 'logs', job)} --follow', stop it "
            f"with '{command(client, 'stop', job)}'"
        )
        raise
    check_succeeded(client, job)
    fetch_run(client, find_search(client, job), folder, open_console())
    typer.echo(f"report: {folder / 'report.html'}")
