"""``evounet compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare(
    runs: Annotated[list[Path], typer.Argument(help="run folders, finished or under way")],
    picture: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="also draw CLIP against latency into this HTML page"),
    ] = None,
) -> None:
    """Put runs side by side: strategy, seed, latency, CLIP and parameters.

    Example: evounet compare runs/evolution runs/random --picture compare.html
    """
    from experiments.console import open_console
    from experiments.run_comparison import read_run, runs_figure, runs_table
    from search.state import write_atomically

    if picture is not None and not picture.parent.is_dir():
        raise ValueError(f"--picture {picture}: {picture.parent} is no folder; make it first")
    figures = [read_run(run) for run in runs]
    open_console().print(runs_table(figures))
    if picture is not None:
        write_atomically(picture, runs_figure(figures).to_html(include_plotlyjs=True))
        typer.echo(f"picture: {picture}")
