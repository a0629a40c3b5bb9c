"""``evounet export``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from experiments.console import open_console
from experiments.export.coreml.choices import AttentionLayout, Choices, WeightFormat


class Format(str, Enum):
    COREML = "coreml"
    DIFFUSERS = "diffusers"
    ONNX = "onnx"
    SPEC = "spec"


class _ExportFirst(TyperGroup):
    """``evounet export RUN ...`` exports; what is not another command's name belongs to it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args if args[:1] == ["verify"] else ["run", *args])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return "" if name == "run" else name, command, rest  # its name is not for people


app = typer.Typer(cls=_ExportFirst)


@app.command("run", hidden=True)
def export(
    source: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="folder of a finished search, or of a pipeline"),
    ],
    out: Annotated[Path, typer.Option(help="folder, or file (spec), to write")],
    format_: Annotated[Format, typer.Option("--format", help="what to write")] = Format.DIFFUSERS,
    overwrite: Annotated[bool, typer.Option(help="replace what is there already")] = False,
    point: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="another of the front that search.pareto leaves, from 1"
        ),
    ] = None,
    variant: Annotated[
        Literal["fp16"] | None, typer.Option(help="diffusers: weights in half precision")
    ] = None,
    max_shard_size: Annotated[
        str,
        typer.Option(metavar="SIZE", help="diffusers: share larger files of weights out: 2GB"),
    ] = "10GB",
    attention: Annotated[
        AttentionLayout,
        typer.Option(help="coreml: attention as torch has it, or for the Neural Engine"),
    ] = "original",
    weights: Annotated[WeightFormat, typer.Option(help="coreml: how weights are stored")] = "fp16",
    chunk: Annotated[
        bool | None,
        typer.Option(
            "--chunk/--no-chunk",
            help="coreml: the UNet in two packages; if not given, above 0.7 GB of weights",
        ),
    ] = None,
    batch: Annotated[
        int, typer.Option(min=1, max=2, help="coreml: 1 for a UNet without guidance")
    ] = 2,
) -> None:
    """Hand out what a search found: a pipeline for diffusers, Core ML or ONNX Runtime, or the spec.

    Example: evounet export runs/demo --format diffusers --out faster-pipeline

    What was written for Core ML is run and compared again by: evounet export verify FOLDER
    """
    from experiments.export.artefact import Artefact, artefact_table
    from experiments.export.coreml.exporter import export_coreml
    from experiments.export.destination import ExportError, check_free
    from experiments.export.diffusers import Packing, export_diffusers
    from experiments.export.onnx.exporter import export_onnx
    from experiments.export.source import open_source, read_source_spec
    from experiments.export.spec import export_spec
    from experiments.table_views import print_table

    choices = Choices(attention, weights, chunk, batch)
    if choices != Choices() and format_ is not Format.COREML:
        raise ExportError(
            "--attention, --weights, --chunk and --batch are for --format coreml alone"
        )
    check_free(out, overwrite)
    artefacts: Sequence[Artefact]
    notes: tuple[str, ...] = ()
    if format_ is Format.SPEC:
        artefacts = (export_spec(read_source_spec(source, point), out, overwrite),)
    elif format_ is Format.COREML:
        opened = open_source(source, point)
        artefacts, notes = export_coreml(opened, choices, out, overwrite, open_console())
    elif format_ is Format.ONNX:
        artefacts = export_onnx(open_source(source, point), out, overwrite, open_console())
    else:
        packing = Packing(variant, max_shard_size)
        artefacts = export_diffusers(open_source(source, point), out, overwrite, packing)
    print_table(artefact_table(artefacts))
    for note in notes:
        typer.echo(note)


@app.command("verify")
def verify(
    folder: Annotated[Path, typer.Argument(help="that --format coreml wrote")],
    interpreter: Annotated[
        bool, typer.Option(help="run the programs with evounet's interpreter, on any machine")
    ] = False,
) -> None:
    """Run exported Core ML packages on a Mac, and compare what they answer with torch's answers.

    Example: evounet export verify found-coreml
    """
    from experiments.export.coreml.exporter import verify_coreml
    from experiments.export.coreml.verification import interpreted, predicted
    from experiments.export.destination import ExportError

    if not interpreter and sys.platform != "darwin":
        raise ExportError(
            "Core ML predicts on macOS alone: verify the folder on a Mac, or add --interpreter "
            "to run its programs with evounet's own interpreter here"
        )
    predict = interpreted(open_console()) if interpreter else predicted
    for name, agreement in verify_coreml(folder, predict).items():
        typer.echo(f"{name}: {agreement}")
