"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="override a field, e.g. search.rounds=2"),
]
Seed = Annotated[int, typer.Option(min=0, help="fixes every random choice")]
