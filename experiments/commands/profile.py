"""``evounet profile``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from experiments.commands.unet_options import Batch, ContextLength, UNet


class Precision(str, Enum):
    FP32 = "fp32"
    BF16 = "bf16"


def profile(
    unet: UNet,
    table: Annotated[
        str, typer.Option(metavar="NAME", help="the latency table that gets the rows, or its path")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="folder of the table; by default where it lies already, else the first of "
            "EVOUNET_TABLES, else ~/.evounet/tables"
        ),
    ] = None,
    precision: Annotated[
        Precision | None, typer.Option(help="the table's by default, fp32 for a new one")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="the table's by default, torch's number for a new one"),
    ] = None,
    batch: Batch = 2,
    context_length: ContextLength = None,
    rounds: Annotated[int, typer.Option(min=1, help="turns of every part")] = 10,
    repetitions: Annotated[int, typer.Option(min=1, help="timings in a turn")] = 3,
    again: Annotated[bool, typer.Option(help="measure rows that are there already, too")] = False,
) -> None:
    """Measure a UNet's parts on this machine's CPU and put them into a latency table.

    Only rows that the table lacks are measured. Interrupted, the same command
    goes on where it was. Let the machine do nothing else meanwhile.

    Example: evounet profile sd15 --table my-laptop-bf16 --precision bf16
    """
    from rich.console import Console

    from evaluators.latency import TableLatency
    from experiments.profiling import cpu_profiler, find_target, measure
    from experiments.table_views import print_table, rows_view
    from experiments.unets import choose_unet
    from latency_tables import available_tables, noisy, read_table

    console = Console()
    chosen = choose_unet(unet, batch=batch, context_length=context_length)
    target = find_target(table, out)
    profiler = cpu_profiler(target, precision and precision.value, threads)
    rows = measure(
        chosen,
        target,
        profiler,
        again=again,
        rounds=rounds,
        repetitions=repetitions,
        console=console,
    )
    if not rows:
        typer.echo(f"table '{target.name}' has every row already; --again measures them anew")
        return
    shaky = {signature: row for signature, row in rows.items() if noisy(row)}
    if shaky:
        print_table(rows_view(shaky))
        typer.echo(
            f"{len(shaky)} of {len(rows)} rows are noisy: their timings spread over more than "
            "15 % of the median; repeat with --again when the machine is quiet"
        )
    latency = TableLatency(chosen.inventory, read_table(target.path))
    full_ms = latency(chosen.inventory.full())
    smallest_ms = latency(chosen.inventory.smallest())
    typer.echo(
        f"one pass of {unet} by this table: {full_ms:.3f} ms, without any removable block "
        f"{smallest_ms:.3f} ms"
    )
    found = available_tables().get(target.name) == str(target.path)
    hint = "" if found else f" (name it by its path, or add {target.folder} to EVOUNET_TABLES)"
    typer.echo(f"table: {target.path}{hint}")
