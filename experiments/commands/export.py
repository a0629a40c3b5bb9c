"""``evounet export``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


class Format(str, Enum):
    DIFFUSERS = "diffusers"
    SPEC = "spec"


def export(
    run: Annotated[Path, typer.Argument(help="folder of a finished run")],
    out: Annotated[Path, typer.Option(help="folder (diffusers) or file (spec) to write")],
    format_: Annotated[Format, typer.Option("--format", help="what to write")] = Format.DIFFUSERS,
    overwrite: Annotated[bool, typer.Option(help="replace what is there already")] = False,
) -> None:
    """Hand out what a search found: a diffusers pipeline with the new UNet, or its spec.

    Example: evounet export runs/demo --format diffusers --out found-pipeline
    """
    from experiments.export import HOW_TO_DRAW, export_pipeline, export_spec
    from experiments.run_folder import RunFolder

    if format_ is Format.DIFFUSERS:
        export_pipeline(RunFolder(run), out, overwrite)
        typer.echo(f"pipeline: {out}\ndraw with it:\n\n{HOW_TO_DRAW.format(folder=out)}")
    else:
        export_spec(RunFolder(run), out, overwrite)
        typer.echo(f"spec: {out}")
