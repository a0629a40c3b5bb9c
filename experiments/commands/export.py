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
    from experiments.export.artefact import artefact_table
    from experiments.export.destination import check_free
    from experiments.export.diffusers import export_diffusers
    from experiments.export.source import open_source, read_source_spec
    from experiments.export.spec import export_spec
    from experiments.table_views import print_table

    check_free(out, overwrite)
    if format_ is Format.SPEC:
        artefacts = [export_spec(read_source_spec(run, point), out, overwrite)]
    else:
        artefacts = [export_diffusers(open_source(run, point), out, overwrite)]
    print_table(artefact_table(artefacts))
