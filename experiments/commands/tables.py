"""``evounet tables``: what latency tables there are, what is in them, and adding one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.commands.unet_options import (
    AnyBatch,
    Batch,
    ContextLength,
    Decoder,
    Granularity,
    Ratio,
    UNet,
)

app = typer.Typer(no_args_is_help=True, help="List, show, check, add and compare latency tables.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="of a latency table, or its path")]
TableOption = Annotated[str, typer.Option(metavar="NAME", help="latency table, by name or path")]
TablePath = Annotated[
    Path, typer.Argument(metavar="PATH", help="the .toml or .csv file of a table, or both's name")
]


@app.command("list")
def list_() -> None:
    """List every known table: the user's own, those of plug-ins, the shipped ones.

    Example: evounet tables list
    """
    from experiments.table_views import print_table, table_list
    from latency_tables import LatencyTable, available_tables, known_tables, user_folders

    tables = known_tables()
    if tables:
        print_table(table_list(tables, available_tables()))
    for table in tables.values():
        if not isinstance(table, LatencyTable):
            typer.echo(f"{table}")
    typer.echo(f"your own tables are in: {', '.join(str(folder) for folder in user_folders())}")


@app.command()
def show(name: Name) -> None:
    """Show a table: on what, how and when it was measured, and every row.

    Example: evounet tables show my-laptop-bf16
    """
    from experiments.table_views import metadata_view, print_table, rows_view
    from latency_tables import load_table

    table = load_table(name)
    print_table(metadata_view(table))
    print_table(rows_view(table.rows))


@app.command()
def validate(path: TablePath) -> None:
    """Check both files of a table; a fault is told with its file, line, column and fix.

    Example: evounet tables validate my-tables/my-phone-fp16.toml
    """
    from latency_tables import noisy, read_table

    table = read_table(path)
    shaky = sum(noisy(row) for row in table.rows.values())
    typer.echo(f"{path}: valid, {len(table.rows)} rows, {shaky} of them noisy")


@app.command()
def add(
    path: TablePath,
    overwrite: Annotated[bool, typer.Option(help="replace a table of that name")] = False,
) -> None:
    """Check a table and copy it to your own, so that its name is known everywhere.

    They are in the first folder of EVOUNET_TABLES, or else in ~/.evounet/tables.

    Example: evounet tables add downloads/my-phone-fp16.toml
    """
    from latency_tables import add_table, available_tables, user_folders

    before = available_tables()
    added = add_table(path, user_folders()[0], overwrite=overwrite)
    hidden = before.get(added.stem, str(added))
    place = "" if hidden == str(added) else f", in the place of the one from {hidden}"
    typer.echo(f"added: {added}{place}")


@app.command()
def diff(first: Name, second: Name) -> None:
    """Compare two tables row by row; ratios above 1 mean that the second one is slower.

    Example: evounet tables diff my-laptop-fp32 my-laptop-bf16
    """
    from experiments.table_views import diff_view, print_table
    from latency_tables import TableDiff, load_table

    difference = TableDiff.of(load_table(first), load_table(second))
    for condition in difference.conditions:
        typer.echo(f"they differ in {condition}")
    if difference.common:
        print_table(diff_view(difference, first, second))
        typer.echo(
            f"{len(difference.common)} common rows, median ratio {difference.median_ratio:.3f}; "
            "ratios in brackets are within the spread of the timings"
        )
    for name, signatures in ((first, difference.only_first), (second, difference.only_second)):
        for signature in signatures:
            typer.echo(f"only in {name}: {signature.description}")


@app.command()
def coverage(
    unet: UNet,
    table: TableOption,
    batch: Batch = 2,
    context_length: ContextLength = None,
    granularity: Granularity = None,
) -> None:
    """Tell which parts of a UNet lack a row in a table, and the command that measures them.

    The exit code is 1 if there are any.

    Example: evounet tables coverage sd15 --table my-laptop-bf16
    """
    from experiments.analysis import Coverage
    from experiments.table_views import coverage_view, print_table
    from experiments.unets import choose_unet
    from latency_tables import load_table

    chosen = choose_unet(unet, batch=batch, context_length=context_length, granularity=granularity)
    covered = Coverage.of(chosen.inventory, load_table(table, unet=chosen.arguments))
    if covered.missing:
        print_table(coverage_view(covered))
    typer.echo(covered.summary)
    if covered.missing:
        raise typer.Exit(1)


@app.command()
def calibrate(
    unet: UNet,
    table: TableOption,
    batch: AnyBatch = None,
    context_length: ContextLength = None,
    granularity: Granularity = None,
    decoder: Decoder = False,
    ratio: Ratio = None,
    architectures: Annotated[
        int, typer.Option(min=3, help="of a UNet: the smallest, the full one, and random ones")
    ] = 8,
    rounds: Annotated[int, typer.Option(min=2, help="timed passes of each")] = 5,
) -> None:
    """Time whole passes of a UNet or a decoder, so that the sum of a table's rows matches them.

    Adds the row of the overhead of a pass, and the factor that all other rows are
    multiplied with for this model. Let the machine do nothing else meanwhile.

    Example: evounet tables calibrate sd15 --table my-laptop-bf16
    """
    from experiments.calibration import calibrate as measure
    from experiments.commands.unet_options import choose_model
    from experiments.console import open_console
    from experiments.decoder.calibration import calibrate_decoders
    from experiments.decoder.choice import ChosenDecoders
    from experiments.profilers import ProfilerChoice, make_profiler
    from experiments.profiling import find_target

    chosen = choose_model(unet, batch, context_length, granularity, decoder, ratio)
    target = find_target(table)
    choice = ProfilerChoice()
    if target.existing is not None:
        choice = choice.completed_by(target.existing)
    profiler, console = make_profiler(choice), open_console()
    if isinstance(chosen, ChosenDecoders):
        result = calibrate_decoders(chosen, target, profiler, rounds=rounds, console=console)
    else:
        result = measure(
            chosen,
            target,
            profiler,
            architectures=architectures,
            rounds=rounds,
            console=console,
        )
    typer.echo(
        f"factor {result.factor:.4f}; what is left on these {result.architectures} architectures "
        f"is a mean error of {result.mape_pct:.2f} %"
    )
    typer.echo(f"table: {target.path}")


@app.command()
def derive(
    unet: UNet,
    total_ms: Annotated[float, typer.Option(min=0.01, help="of one whole pass, as published")],
    about: Annotated[
        Path, typer.Option(metavar="FILE", help="TOML file: name, device, chip, source, ...")
    ],
    out: Annotated[
        Path | None, typer.Option(help="folder; by default that of your own tables")
    ] = None,
    batch: Batch = 2,
    context_length: ContextLength = None,
    granularity: Granularity = None,
) -> None:
    """Make a table from the published latency of a whole UNet, shared out by MACs.

    For a device that you cannot measure on. Its rows are rounded to two digits
    and marked as derived; do not trust them about single blocks.

    Example: evounet tables derive sd15 --total-ms 1700 --about my-phone.toml
    """
    from experiments.derived_tables import derive_table
    from experiments.unets import choose_unet
    from latency_tables import user_folders, write_table

    chosen = choose_unet(unet, batch=batch, context_length=context_length, granularity=granularity)
    table = derive_table(chosen, total_ms, about)
    typer.echo(f"table: {write_table(table, out or user_folders()[0])}")
