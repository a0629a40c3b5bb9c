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
    point: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="another of the front that search.pareto leaves, from 1"
        ),
    ] = None,
) -> None:
    """Hand out what a search found: the UNet as a diffusers folder, or its spec.

    Example: evounet export runs/demo --format diffusers --out found-unet
    """
    from experiments.export import export_point, export_spec, export_unet
    from experiments.run_folder import RunFolder

    if point is not None:
        export_point(RunFolder(run), point, out, overwrite, spec_only=format_ is Format.SPEC)
        typer.echo(f"point {point} of the front: {out}")
    elif format_ is Format.DIFFUSERS:
        how_to_draw = export_unet(RunFolder(run), out, overwrite)
        typer.echo(f"UNet: {out}\ndraw with it:\n\n{how_to_draw}")
    else:
        export_spec(RunFolder(run), out, overwrite)
        typer.echo(f"spec: {out}")
