"""``evounet dashboard``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def dashboard(
    runs: Annotated[
        list[Path], typer.Argument(help="run folders, or folders of some; finished or under way")
    ],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free")] = 8050,
    host: Annotated[
        str, typer.Option(help="address to listen at; any but this machine's own wants --token")
    ] = "127.0.0.1",
    token: Annotated[
        str | None,
        typer.Option(envvar="EVOUNET_DASHBOARD_TOKEN", help="that everyone has to know"),
    ] = None,
) -> None:
    """Look at runs in a browser: CLIP against latency, live; nothing is written.

    Example: evounet dashboard runs/demo
    """
    from experiments.dashboard.listening import serve

    serve(runs, host, port, token)
