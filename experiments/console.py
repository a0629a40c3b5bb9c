"""Where commands print to."""

from __future__ import annotations

from typing import Any

from rich.console import Console

_WITHOUT_TERMINAL = 240  # columns; a pipe or a file has no width that a table must fit into


def open_console(**options: Any) -> Console:
    """A console of rich, as wide as tables want to be where there is no terminal.

    Args:
        options: of :class:`rich.console.Console`.
    """
    console = Console(**options)
    if not console.is_terminal:
        console.width = _WITHOUT_TERMINAL
    return console
