"""``evounet report``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


class Format(str, Enum):
    """What a report is written as."""

    html = "html"
    md = "md"


def report(
    run: Annotated[Path, typer.Argument(help="run folder")],
    format_: Annotated[
        Format, typer.Option("--format", help="html: report.html; md: printed, for pull requests")
    ] = Format.html,
    tensorboard: Annotated[
        bool, typer.Option(help="also write scalars and pictures for TensorBoard")
    ] = False,
) -> None:
    """Write a run's report.html anew: CLIP against latency, block map, samples, decisions.

    Example: evounet report runs/demo --format md > summary.md
    """
    from experiments.report.markdown import markdown
    from experiments.report.page import write_report
    from experiments.report_data import report_data
    from experiments.run_folder import RunFolder
    from experiments.search_parts import prepare
    from experiments.tensorboard import check_writer, write_events
    from search.state import SearchState, write_atomically
    from supernet.inventory_file import inventory_text

    if tensorboard:
        check_writer()
    folder = RunFolder(run)
    parts = prepare(folder.load_experiment())
    state = SearchState.load(folder.state, parts.full)
    if not folder.inventory.exists():  # of a run by an evounet that did not keep it
        write_atomically(folder.inventory, inventory_text(parts.latency.inventory))
    data = report_data(parts, folder, state)
    if format_ is Format.md:
        typer.echo(markdown(data), nl=False)
    else:
        write_report(folder.report, data)
        typer.echo(f"report: {folder.report}")
    if tensorboard:
        write_events(folder.tensorboard, data)
        typer.echo(
            f"TensorBoard: {folder.tensorboard}; look with 'tensorboard --logdir {folder.path}'",
            err=format_ is Format.md,
        )
