"""Measuring the rows that a latency table lacks."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Protocol

from rich.console import Console

from experiments.profilers import profiler_arguments
from experiments.progress import track
from latency_tables import (
    BlockProfiler,
    BlockSignature,
    CoreMLProfiler,
    LatencyRow,
    LatencyTable,
    TableError,
    TableMetadata,
    available_tables,
    load_table,
    profile,
    read_table,
    user_folders,
    write_table,
)
from latency_tables.registry import is_path
from latency_tables.table import NAME_PATTERN
from latency_tables.table_files import table_paths

_WARM_UP_ROUNDS = 2


@dataclass(frozen=True)
class TableTarget:
    """The table that a measurement goes into.

    Attributes:
        name: of the table.
        folder: of its files.
        existing: its rows so far; None where it is new.
    """

    name: str
    folder: Path
    existing: LatencyTable | None

    @property
    def path(self) -> Path:
        return self.folder / f"{self.name}.toml"


class Profiled(Protocol):
    """What parts are measured of: a UNet, or image decoders."""

    @property
    def arguments(self) -> str:
        """What to type behind ``evounet profile`` to mean it."""
        ...

    @property
    def signatures(self) -> list[BlockSignature]:
        """Of all parts that may be asked for."""
        ...


def find_target(table: str, out: Path | None = None) -> TableTarget:
    """Where measured rows belong.

    A path is taken as it is. A name is looked for in ``out`` alone, if given; otherwise the
    user's table of that name is extended where it lies. A shipped table, or one of a plug-in, is
    extended by a copy in the first of the user's folders, and there a new one begins.

    Args:
        table: name or path.
        out: folder.

    Raises:
        TableError: if the name is none for a table, or the table is damaged.
    """
    by_name = out is None and not is_path(table)
    toml, _ = table_paths(_own_place(table) if by_name else (out or Path()) / table)
    if not re.fullmatch(NAME_PATTERN, toml.stem):
        raise TableError(
            f"'{toml.stem}' is no name for a latency table; use letters, digits, '.', '_' and '-'"
        )
    existing = None
    if any(path.exists() for path in table_paths(toml)):
        existing = read_table(toml)
    elif by_name and table in available_tables():
        existing = load_table(table)
    return TableTarget(toml.stem, toml.parent, existing)


def _own_place(name: str) -> Path:
    """The user's own table of a name, or where it would be."""
    places = [folder / name for folder in user_folders()]
    for place in places:
        if any(path.exists() for path in table_paths(place)):
            return place
    return places[0]


def measure(
    chosen: Profiled,
    target: TableTarget,
    profiler: BlockProfiler,
    *,
    again: bool = False,
    rounds: int = 30,
    console: Console,
) -> Mapping[BlockSignature, LatencyRow]:
    """Measure every row that can be asked for and the table lacks, and save them.

    Rows are saved a few at a time, so that an interrupted measurement goes on when it is
    repeated.

    Args:
        chosen: whose parts are measured.
        target: the table.
        profiler: runs the parts.
        again: measure the rows that the table has, too; calibrations fall away with them.
        rounds: timings of every part.
        console: shows progress.

    Returns:
        The measured rows; none if the table has them all.

    Raises:
        TableError: if this machine is not the table's device, or something else about the
            conditions differs.
        ValueError: if there are fewer than 2 timings of a part.
    """
    table = target.existing
    metadata = _metadata(chosen, target, profiler, rounds)
    if table is not None:
        table.check_conditions(metadata)
    signatures = chosen.signatures
    absent = signatures if again or table is None else table.missing(signatures)
    if not absent:
        return {}
    if again and table is not None:
        table = table.uncalibrated()

    def save(rows: Mapping[BlockSignature, LatencyRow]) -> None:
        nonlocal table
        table = _extended(table, LatencyTable(metadata, rows))
        write_table(table, target.folder)

    turns = len(absent) * (_WARM_UP_ROUNDS + rounds)
    with track(console, f"measuring {len(absent)} parts", turns) as on_progress:
        return profile(
            absent,
            profiler,
            rounds=rounds,
            warmup_rounds=_WARM_UP_ROUNDS,
            on_progress=lambda done, _: on_progress(done, {}),
            on_rows=save,
        )


def write_packages(
    chosen: Profiled, table: str | None, profiler: CoreMLProfiler, console: Console
) -> str:
    """Convert every part to Core ML, and say how the measurement goes on on a Mac.

    Args:
        chosen: whose parts.
        table: as the user named it; by default the Mac names it after itself.
        profiler: has the folder.
        console: shows progress.
    """
    signatures = chosen.signatures
    with track(console, f"converting {len(signatures)} parts", len(signatures)) as on_progress:
        profiler.write_all(signatures, lambda done: on_progress(done, {}))
    name = [f"--table={table}"] if table is not None else []
    arguments = [*name, *profiler_arguments(profiler.describe())]
    options = shlex.join([*arguments, f"--packages={profiler.packages}"])
    return (
        f"{len(signatures)} packages and their manifest are in {profiler.packages}. Core ML runs "
        "on macOS alone: copy the folder to a Mac and measure them there with\n"
        f"evounet profile {chosen.arguments} {options}"
    )


def _metadata(
    chosen: Profiled, target: TableTarget, profiler: BlockProfiler, rounds: int
) -> TableMetadata:
    conditions = profiler.describe()
    options = shlex.join([f"--table={target.name}", *profiler_arguments(conditions)])
    return TableMetadata(
        name=target.name,
        method="measured",
        measured_how=(
            f"timings of one run each; the parts take turns, after {_WARM_UP_ROUNDS} turns that "
            "were not timed"
        ),
        measured_at=date.today(),
        command=f"evounet profile {chosen.arguments} {options} --rounds={rounds}",
        **conditions,
    )


def _extended(table: LatencyTable | None, measured: LatencyTable) -> LatencyTable:
    """A table with newly measured rows, which tells how all of its rows were measured."""
    if table is None:
        return measured
    before, now = table.metadata, measured.metadata
    metadata = before.model_copy(
        update={
            "measured_at": now.measured_at,
            "measured_how": _both(before.measured_how, now.measured_how, " or "),
            "command": _both(before.command, now.command, "; "),
        }
    )
    return replace(table.with_rows(measured), metadata=metadata)


def _both(before: str, now: str, between: str) -> str:
    return before if now in before.split(between) else f"{before}{between}{now}"
