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
    """Hand out what a search found: the UNet as a diffusers folder, or its spec.

    Example: evounet export runs/demo --format diffusers --out found-unet
    """
    from experiments.export import export_spec, export_unet
    from experiments.run_folder import RunFolder

    if format_ is Format.DIFFUSERS:
        how_to_draw = export_unet(RunFolder(run), out, overwrite)
        typer.echo(f"UNet: {out}\ndraw with it:\n\n{how_to_draw}")
    else:
        export_spec(RunFolder(run), out, overwrite)
        typer.echo(f"spec: {out}")
