"""What an export has written, for people: one line for each artefact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich import box
from rich.table import Table


@dataclass(frozen=True)
class Artefact:
    """A file or folder that an export has written.

    Attributes:
        name: what it is: ``pipeline``, ``spec``, ``UNet`` ...
        path: where it is.
        size: bytes on disk; see :func:`size_on_disk`.
        parameters: number of weights in it.
        verified: how it was verified, in words: what was compared with what, and the outcome.
        latency_ms: of one pass, by the name of the table; empty where no table applies.
    """

    name: str
    path: Path
    size: int
    parameters: int
    verified: str
    latency_ms: Mapping[str, float] = field(default_factory=dict)


def size_on_disk(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def artefact_table(artefacts: Sequence[Artefact]) -> Table:
    """A line for each, with a column for every latency table that applies to one of them."""
    tables = list(dict.fromkeys(name for each in artefacts for name in each.latency_ms))
    view = Table("artefact", "path", box=box.SIMPLE, padding=(0, 1, 0, 0))
    for heading in ("MB", "parameters", *(f"{name} ms" for name in tables)):
        view.add_column(heading, justify="right")
    view.add_column("verified")
    for each in artefacts:
        latencies = [each.latency_ms.get(name) for name in tables]
        view.add_row(
            each.name,
            str(each.path),
            f"{each.size / 1e6:,.2f}",
            f"{each.parameters:,}" if each.parameters else "",
            *("" if ms is None else f"{ms:,.2f}" for ms in latencies),
            each.verified,
        )
    return view
