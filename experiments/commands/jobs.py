"""``evounet jobs``: what becomes of what ``evounet submit`` has sent to a cluster."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, help="Look after the jobs of 'evounet submit'.")

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
    """List the searches, sweeps and whole runs that a cluster knows, the newest first.

    Example: evounet jobs list --address http://head:8265
    """
    import time

    from rich import box
    from rich.table import Table

    from experiments.cluster.connection import connect
    from experiments.cluster.jobs import list_runs
    from experiments.table_views import print_table

    table = Table("job", "command", "experiment", "status", "started", "hours", box=box.SIMPLE)
    for job in list_runs(connect(address)):
        started = time.strftime("%Y-%m-%d %H:%M", time.localtime(job.started))
        hours = ((job.ended or time.time()) - job.started) / 3600
        table.add_row(job.id, job.work.value, job.name, job.status, started, f"{hours:.2f}")
    print_table(table)


@app.command()
def status(job: Job, address: Address = None) -> None:
    """Show how a job stands: its status, the last line of its log, where its run folder is.

    Example: evounet jobs status demo-1f2e3d --address http://head:8265
    """
    from experiments.cluster.connection import connect
    from experiments.cluster.jobs import find_run, last_line

    client = connect(address)
    found = find_run(client, job)
    typer.echo(f"{found.id}: {found.status}")
    typer.echo(f"log: {last_line(client, job)}")
    typer.echo(f"run folder on the head: ~/{found.run}")


@app.command()
def logs(
    job: Job,
    follow: Annotated[
        bool, typer.Option("--follow", help="until the job ends, then fetch its run folder")
    ] = False,
    run: Run = None,
    address: Address = None,
) -> None:
    """Print a job's log.

    Example: evounet jobs logs demo-1f2e3d --follow --address http://head:8265
    """
    from experiments.cluster.connection import connect
    from experiments.cluster.fetch import check_place
    from experiments.cluster.jobs import find_run

    if run is not None and not follow:
        raise ValueError("--run: the run folder is fetched with --follow alone; add it")
    client = connect(address)
    found = find_run(client, job)
    if not follow:
        typer.echo(client.get_job_logs(job), nl=False)
        return
    folder = run or Path("runs") / found.name
    check_place(folder, found.run)
    follow_and_fetch(client, job, folder)


@app.command()
def stop(job: Job, address: Address = None) -> None:
    """Stop a job. Its run folder stays on the head, and 'evounet jobs resume' goes on with it.

    Example: evounet jobs stop demo-1f2e3d --address http://head:8265
    """
    from experiments.cluster.connection import connect
    from experiments.cluster.jobs import command, find_run

    client = connect(address)
    found = find_run(client, job)
    if client.stop_job(job):
        typer.echo(f"{job}: stopping; go on with '{command(client, 'resume', job)}'")
    else:
        typer.echo(f"{job}: is over already ({found.status})")


@app.command()
def fetch(
    job: Job,
    run: Run = None,
    checkpoints: Annotated[
        bool | None,
        typer.Option(help="also what only a resume needs; of searches alone by default"),
    ] = None,
    address: Address = None,
) -> None:
    """Fetch a job's run folder as it is now; one fetched of it before is replaced.

    Example: evounet jobs fetch demo-1f2e3d --address http://head:8265
    """
    from experiments.cluster.connection import connect
    from experiments.cluster.fetch import fetch_run
    from experiments.cluster.jobs import find_run
    from experiments.console import open_console

    client = connect(address)
    found = find_run(client, job)
    folder = run or Path("runs") / found.name
    fetch_run(client, found, folder, open_console(), checkpoints)
    typer.echo(f"run folder: {folder}")


@app.command()
def resume(job: Job, run: Run = None, address: Address = None) -> None:
    """Continue a job that was stopped or has failed, as a new job in the same run folder.

    Call it where the job was submitted: the local files of its experiment are sent once more.

    Example: evounet jobs resume demo-1f2e3d --address http://head:8265
    """
    from experiments.cluster.connection import connect
    from experiments.cluster.fetch import check_place
    from experiments.cluster.jobs import find_run
    from experiments.cluster.submission import resume_run

    client = connect(address)
    found = find_run(client, job)
    folder = run or Path("runs") / found.name
    check_place(folder, found.run)
    new = resume_run(client, found)
    typer.echo(f"job: {new}")
    follow_and_fetch(client, new, folder)


@app.command(hidden=True)
def pack(
    run: Annotated[Path, typer.Argument(help="run folder")],
    checkpoints: Annotated[bool, typer.Option(help="also what only a resume needs")] = True,
) -> None:
    """Print a run folder as lines of text: what 'fetch' runs on the head.

    Example: evounet jobs pack runs/demo
    """
    from experiments.cluster.archive import pack as write

    write(run, sys.stdout, checkpoints)


def follow_and_fetch(client: Any, job: str, folder: Path) -> None:
    """Show a job's log until it ends, and fetch its run folder.

    Raises:
        ClusterError, ArchiveError: if the job has ended early, or cannot be fetched.
    """
    from experiments.cluster.fetch import fetch_run
    from experiments.cluster.jobs import check_succeeded, command, find_run, follow
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
    fetch_run(client, find_run(client, job), folder, open_console())
    report = folder / "report.html"  # a sweep has one for each trial
    typer.echo(f"report: {report}" if report.exists() else f"run folder: {folder}")
