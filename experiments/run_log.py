"""What a run says: to the person who watches, and with the time into the run folder's log."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console


class RunLog:
    """Prints lines and appends them to ``log.txt``; the folder has to be there by the first line.

    Attributes:
        console: where people look; progress displays go there alone.
        started: when this was created, by :func:`time.monotonic`.
    """

    def __init__(self, console: Console, path: Path) -> None:
        self.console = console
        self.path = path
        self.started = time.monotonic()

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(f"{stamp} {line}\n" for line in text.splitlines())
