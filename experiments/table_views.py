"""Latency tables on a terminal: what is known, what is in one, how two differ, what one lacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from experiments.console import open_console
from latency_tables import (
    BlockSignature,
    LatencyRow,
    LatencyTable,
    TableDiff,
    TableError,
    noisy,
)

if TYPE_CHECKING:
    from experiments.analysis import Coverage  # imports torch, which only one view needs


def print_table(table: Table) -> None:
    """Print a table whose cells may hold anything."""
    open_console(markup=False, highlight=False).print(table)


def table_list(tables: Mapping[str, LatencyTable | TableError], where: Mapping[str, str]) -> Table:
    """One line for each table; those that cannot be loaded say so."""
    view = _table("name", "device", "runtime", "precision", "threads", "method", "rows", "from")
    for name, table in tables.items():
        if isinstance(table, TableError):
            view.add_row(name, "cannot be loaded, see below", *[""] * 5, where[name])
            continue
        about = table.metadata
        view.add_row(
            name,
            f"{about.device}, {about.chip}",
            f"{about.runtime} {about.runtime_version}",
            about.precision,
            str(about.threads or ""),
            f"{about.method} {about.measured_at}",
            str(len(table.rows)),
            where[name],
        )
    return view


def metadata_view(table: LatencyTable) -> Table:
    view = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
    for field, value in table.metadata.model_dump(exclude_none=True).items():
        view.add_row(field, str(value))
    view.add_row("digest", table.digest)
    return view


def rows_view(rows: Mapping[BlockSignature, LatencyRow]) -> Table:
    view = _table("part", "details", figures=("median ms", "spread ms", "repetitions"))
    for signature in sorted(rows):
        row = rows[signature]
        view.add_row(
            str(signature),
            signature.details,
            f"{row.median_ms:.4f}",
            f"{row.spread_ms:.4f}{' noisy' if noisy(row) else ''}",
            str(row.repetitions),
        )
    return view


def diff_view(diff: TableDiff, first: str, second: str) -> Table:
    """The rows of both tables, and their sums; differences within the spread are bracketed."""
    view = _table("part", "details", figures=(f"{first} ms", f"{second} ms", "ratio"))
    for signature, pair in diff.common.items():
        view.add_row(
            str(signature),
            signature.details,
            f"{pair.first.median_ms:.4f}",
            f"{pair.second.median_ms:.4f}",
            f"({pair.ratio:.3f})" if pair.within_spread else f"{pair.ratio:.3f}",
        )
    view.add_section()
    first_ms, second_ms = diff.total_ms
    view.add_row("sum", "", f"{first_ms:.4f}", f"{second_ms:.4f}", f"{second_ms / first_ms:.3f}")
    return view


def coverage_view(coverage: Coverage) -> Table:
    """The rows that are missing, and the parts of the UNet that need them."""
    view = _table("missing row", "details", "needed by")
    for signature, parts in coverage.missing.items():
        view.add_row(str(signature), signature.details, ", ".join(parts))
    return view


def _table(*texts: str, figures: Sequence[str] = ()) -> Table:
    """A table with columns of text, then of figures."""
    view = Table(*texts, box=box.SIMPLE, padding=(0, 1, 0, 0))
    for heading in figures:
        view.add_column(heading, justify="right")
    return view
