"""``evounet bench``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def bench(
    name: Annotated[
        str | None,
        typer.Argument(
            help="dashboard, decoder, distill, evaluator, export, paper, racing, robustness, "
            "scale, search, strategies, supernet, tables, train or world"
        ),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="every benchmark")] = False,
    quick: Annotated[bool, typer.Option(help="the same on less, within a minute")] = False,
    unet: Annotated[
        str | None,
        typer.Option(
            metavar="UNET",
            help="with train: one step of this UNet instead (named as for evounet analyze)",
        ),
    ] = None,
    work: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="with distill, paper or strategies: keep what is done here, and go on when "
            "called again",
        ),
    ] = None,
    json_: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="also write the figures here")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="also draw the figures into this HTML page")
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="also put them into this Markdown page"),
    ] = None,
) -> None:
    """Run benchmarks: tables of figures with their goals.

    Example: evounet bench supernet --quick --json supernet.json
    """
    from contextlib import nullcontext

    from experiments.benchmarks.benchmark import (
        BENCHMARKS,
        figures_json,
        figures_table,
        has_picture,
        keeps_work,
        picture_page,
        run_benchmark,
        takes_unet,
    )
    from experiments.benchmarks.page import updated_page
    from experiments.benchmarks.work_folder import open_work
    from experiments.console import open_console
    from experiments.table_views import print_table
    from search.state import write_atomically

    if (name is None) != all_:
        raise ValueError("bench: name one benchmark or give --all")
    if all_ and json_ is not None:
        raise ValueError("bench: --json takes one benchmark; name it instead of --all")
    if picture is not None and (name is None or not has_picture(name)):
        drawn = ", ".join(filter(has_picture, BENCHMARKS))
        raise ValueError(f"bench: --picture is for a benchmark that draws one: {drawn}")
    if unet is not None and (name is None or not takes_unet(name)):
        measured = ", ".join(filter(takes_unet, BENCHMARKS))
        raise ValueError(f"bench: --unet is for a benchmark that measures on any UNet: {measured}")
    if unet is not None and quick:
        raise ValueError("bench: --unet measures one step, which cannot be less; omit --quick")
    if work is not None and (name is None or not keeps_work(name)):
        kept = ", ".join(filter(keeps_work, BENCHMARKS))
        raise ValueError(f"bench: --work is for a benchmark that takes hours: {kept}")
    for path in (json_, picture, write):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
    console = open_console()
    with nullcontext(1) if work is None else open_work(work, str(name), quick) as sittings:
        results = {
            each: run_benchmark(each, quick, console, unet, work)
            for each in (BENCHMARKS if all_ else [str(name)])
        }
    for each, figures in results.items():
        print_table(figures_table(each, figures))
        if json_ is not None:
            write_atomically(json_, figures_json(each, figures, sittings))
        if picture is not None:
            write_atomically(picture, picture_page(each, figures))
    if write is not None:
        before = write.read_text(encoding="utf-8") if write.exists() else ""
        write_atomically(write, updated_page(before, results, quick, sittings))
