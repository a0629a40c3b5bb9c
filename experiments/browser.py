"""The browser that pages are tried in: Chromium as the system has it."""

from __future__ import annotations

import shutil

# Nothing but what the page asks for leaves the machine; root and containers have no sandbox.
BROWSER_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class NoBrowserError(ValueError):
    """There is no Chromium."""


def find_browser() -> str:
    """The path of Chromium.

    Raises:
        NoBrowserError: if there is none, saying how to get one.
    """
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    raise NoBrowserError(
        "there is no chromium to try pages in: apt-get install chromium (or have another Chrome "
        "on the PATH under that name)"
    )
