"""Files of one JSON object a line that grow while others read them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from latency_tables.parsing import parse_json


def append_line(path: Path, value: dict[str, Any]) -> None:
    """Add an object at the end of a file, which is made where there is none."""
    with path.open("ab+") as file:
        if file.seek(0, os.SEEK_END):
            # What was cut off when a machine went down must not take this line along.
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(json.dumps(value).encode() + b"\n")


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file in their order; none where there is no file.

    A line that is being written, or was cut off, is passed over.
    """
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            value = parse_json(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value
