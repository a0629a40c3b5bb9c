"""``evounet plan``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.commands.options import Overrides


def plan(
    run: Annotated[Path, typer.Argument(help="folder of a search, finished or under way")],
    set_: Overrides = None,
) -> None:
    """Foretell what would reach another target, table or limit, from the scores of a run.

    Takes seconds: nothing is drawn or trained. What it names is to be measured by a search that
    begins with the same scores; the command for that comes last.

    Example: evounet plan runs/demo --set latency.target_ratio=0.4
    """
    from experiments.plan import plan as foretell

    for line in foretell(run, set_ or []).lines():
        typer.echo(line)
