"""``evounet profile``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.commands.unet_options import (
    AnyBatch,
    ContextLength,
    Decoder,
    Granularity,
    Ratio,
    Tiny,
    choose_model,
    one_unet,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from experiments.decoder.choice import ChosenDecoders
    from experiments.profiling import TableTarget
    from experiments.unets import ChosenUNet
    from latency_tables import BlockSignature, LatencyRow, LatencyTable


class Device(str, Enum):
    CPU = "cpu"
    CUDA = "cuda"
    ONNXRUNTIME = "onnxruntime"
    COREML = "coreml"


class Precision(str, Enum):
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


class ComputeUnit(str, Enum):
    ALL = "all"
    NEURAL_ENGINE = "cpu_and_ne"
    GPU = "cpu_and_gpu"
    CPU = "cpu_only"


def profile(
    unet: Annotated[str | None, typer.Argument(metavar="UNET", help="see evounet analyze")] = None,
    unet_option: Annotated[
        str | None, typer.Option("--unet", metavar="UNET", help="the same as an option")
    ] = None,
    table: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="the latency table that gets the rows, or its path; by default it is named after "
            "chip and precision",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="folder of the table; by default where it lies already, else the first of "
            "EVOUNET_TABLES, else ~/.evounet/tables"
        ),
    ] = None,
    device: Annotated[
        Device | None, typer.Option(help="the table's by default, cpu for a new one")
    ] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(help="the table's by default; fp32 (cuda, coreml: fp16) for a new one"),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="cpu, onnxruntime: the table's by default, else all"),
    ] = None,
    channels_last: Annotated[
        bool | None, typer.Option("--channels-last", help="cpu, cuda: memory format")
    ] = None,
    compiled: Annotated[
        bool | None, typer.Option("--compile", help="cpu, cuda: through torch.compile")
    ] = None,
    autocast: Annotated[
        bool | None, typer.Option("--autocast", help="cuda: weights stay in fp32")
    ] = None,
    compute_unit: Annotated[
        ComputeUnit | None, typer.Option(help="coreml: cpu_and_ne by default")
    ] = None,
    packages: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="coreml: of the .mlpackage files and their manifest"),
    ] = None,
    batch: AnyBatch = None,
    context_length: ContextLength = None,
    granularity: Granularity = None,
    decoder: Decoder = False,
    ratio: Ratio = None,
    tiny: Tiny = None,
    rounds: Annotated[int, typer.Option(min=2, help="timings of every part")] = 30,
    again: Annotated[
        bool,
        typer.Option(help="measure rows that are there already, too; calibrations fall away"),
    ] = False,
) -> None:
    """Measure a UNet's, or an image decoder's, parts on a device and put them into a latency table.

    Only rows that the table lacks are measured. Interrupted, the same command
    goes on where it was. Let the machine do nothing else meanwhile.

    Core ML is measured on a Mac. On any other system this writes the packages
    and their manifest, and tells what to run on the Mac.

    Example: evounet profile sd15 --device cpu --precision bf16 --table my-laptop-bf16
    """
    from experiments.console import open_console
    from experiments.profilers import ProfilerChoice, make_profiler, usual_table_name
    from experiments.profiling import find_target, measure, write_packages
    from latency_tables import CoreMLProfiler

    choice = ProfilerChoice(
        device and device.value,
        precision and precision.value,
        threads,
        "channels_last" if channels_last else None,
        compiled,
        autocast,
        compute_unit and compute_unit.value,
        packages,
    )
    console = open_console()
    name = one_unet(unet, unet_option)
    chosen = choose_model(name, batch, context_length, granularity, decoder, ratio, tiny)
    target = find_target(table, out) if table is not None else None
    if target is not None and target.existing is not None:
        choice = choice.completed_by(target.existing)
    profiler = make_profiler(choice)
    if isinstance(profiler, CoreMLProfiler) and not profiler.can_measure:
        typer.echo(write_packages(chosen, table, profiler, console))
        return
    target = target or find_target(usual_table_name(profiler.describe()), out)
    rows = measure(chosen, target, profiler, again=again, rounds=rounds, console=console)
    if not rows:
        typer.echo(f"table '{target.name}' has every row already; --again measures them anew")
        return
    _tell(chosen, target, rows)


def _tell(
    chosen: ChosenUNet | ChosenDecoders,
    target: TableTarget,
    rows: Mapping[BlockSignature, LatencyRow],
) -> None:
    """What was measured, how far it can be trusted, and where it is."""
    from experiments.table_views import print_table, rows_view
    from latency_tables import available_tables, noisy, read_table

    shaky = {signature: row for signature, row in rows.items() if noisy(row)}
    if shaky:
        print_table(rows_view(shaky))
        typer.echo(
            f"{len(shaky)} of {len(rows)} rows are noisy: their timings spread over more than "
            "15 % of the median; repeat with --again when the machine is quiet"
        )
    typer.echo(_whole(chosen, read_table(target.path)))
    found = available_tables().get(target.name) == str(target.path)
    hint = "" if found else f" (name it by its path, or add {target.folder} to EVOUNET_TABLES)"
    typer.echo(f"table: {target.path}{hint}")


def _whole(chosen: ChosenUNet | ChosenDecoders, table: LatencyTable) -> str:
    """What whole passes take by the table, in words."""
    from evaluators.decoder_latency import table_latency_ms
    from evaluators.latency import TableLatency
    from experiments.unets import ChosenUNet

    if isinstance(chosen, ChosenUNet):
        latency = TableLatency(chosen.inventory, table)
        full_ms = latency(chosen.inventory.full())
        smallest_ms = latency(chosen.inventory.smallest())
        return (
            f"one pass of {chosen.name} by this table: {full_ms:.3f} ms, without any removable "
            f"block {smallest_ms:.3f} ms"
        )
    return "\n".join(
        f"one pass of the decoder of {chosen.name} by this table: "
        f"{table_latency_ms(each, table, chosen.batch):.3f} ms ({each})"
        for each in chosen.architectures
    )
