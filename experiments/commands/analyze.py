"""``evounet analyze``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.commands.unet_options import Batch, ContextLength, Granularity, UNet


def analyze(
    unet: UNet,
    table: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="latency table, by name or path; repeat for several"),
    ] = None,
    batch: Batch = 2,
    context_length: ContextLength = None,
    granularity: Granularity = None,
    json_: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", dir_okay=False, help="also write the analysis here"),
    ] = None,
) -> None:
    """Show what a UNet consists of, stage by stage: blocks, parameters, MACs, table latency.

    No weights are needed. Without --table, every known table that covers the UNet is used. A spec,
    or a run's folder, is also shown beside its base, with every block that was changed.

    Example: evounet analyze sd15 --json sd15.json
    """
    import json

    from experiments.against_base import changes, conditions, side_by_side_table
    from experiments.analysis import analyse, analysis_table
    from experiments.table_views import print_table
    from experiments.unets import choose_unet
    from latency_tables import LatencyTable, TableError, known_tables, load_table
    from search.state import write_atomically

    chosen = choose_unet(unet, batch=batch, context_length=context_length, granularity=granularity)
    arguments = chosen.arguments
    tables: dict[str, LatencyTable | TableError] = (
        {name: load_table(name, unet=arguments) for name in table}
        if table
        else known_tables(unet=arguments)
    )
    usable = [each for each in tables.values() if isinstance(each, LatencyTable)]
    analysis = analyse(chosen, usable)
    typer.echo(analysis.title)
    print_table(analysis_table(analysis))
    for each in tables.values():
        if isinstance(each, TableError):
            typer.echo(f"left out: {each}")
    for coverage in analysis.uncovered:
        typer.echo(coverage.summary)
    if not analysis.tables:
        typer.echo(
            "no latency table covers this UNet; measure a new one on this machine with: "
            f"evounet profile {arguments} --table my-cpu-fp32"
        )
    if chosen.spec is not None:
        typer.echo("\nbeside its base, as its spec says:")
        print_table(side_by_side_table(chosen.spec))
        for line in (*conditions(chosen.spec), "", *changes(chosen.spec)):
            typer.echo(line)
    if json_ is not None:
        json_.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(json_, json.dumps(analysis.to_json(), indent=2) + "\n")
