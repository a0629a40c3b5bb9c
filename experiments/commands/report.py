"""``evounet report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(run: Annotated[Path, typer.Argument(help="run folder")]) -> None:
    """Write a run's report.html anew: CLIP against latency, block map, samples, decisions.

    Example: evounet report runs/demo
    """
    from experiments.report import write_report
    from experiments.run_folder import RunFolder
    from experiments.search_parts import prepare
    from experiments.search_run import report_data
    from search.state import SearchState

    folder = RunFolder(run)
    parts = prepare(folder.load_experiment())
    state = SearchState.load(folder.state, parts.full)
    write_report(folder.report, report_data(parts, folder, state))
    typer.echo(f"report: {folder.report}")
