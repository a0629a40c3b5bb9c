"""``evounet export``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Literal

import typer


class Format(str, Enum):
    DIFFUSERS = "diffusers"
    ONNX = "onnx"
    SPEC = "spec"


def export(
    source: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="folder of a finished search, or of a pipeline"),
    ],
    out: Annotated[Path, typer.Option(help="folder (diffusers, onnx) or file (spec) to write")],
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
) -> None:
    """Hand out what a search found: a pipeline for diffusers or ONNX Runtime, or the spec.

    Example: evounet export runs/demo --format diffusers --out faster-pipeline
    """
    from rich.console import Console

    from experiments.export.artefact import Artefact, artefact_table
    from experiments.export.destination import check_free
    from experiments.export.diffusers import Packing, export_diffusers
    from experiments.export.onnx.exporter import export_onnx
    from experiments.export.source import open_source, read_source_spec
    from experiments.export.spec import export_spec
    from experiments.table_views import print_table

    check_free(out, overwrite)
    artefacts: tuple[Artefact, ...]
    if format_ is Format.SPEC:
        artefacts = (export_spec(read_source_spec(source, point), out, overwrite),)
    elif format_ is Format.ONNX:
        artefacts = export_onnx(open_source(source, point), out, overwrite, Console())
    else:
        packing = Packing(variant, max_shard_size)
        artefacts = export_diffusers(open_source(source, point), out, overwrite, packing)
    print_table(artefact_table(artefacts))
