"""Latency tables as values: metadata and rows, and the sum over the parts of a UNet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date
from math import inf
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from latency_tables.signature import BlockSignature

MEASURE_WITH = "evounet profile --unet UNET --table {name}"

# Milliseconds taken under different ones of these must not end up in one sum.
_SAME_CONDITIONS = ("chip", "os", "runtime", "precision", "attention", "threads")

_Text = Annotated[str, Field(min_length=1)]


class TableError(ValueError):
    """A latency table that cannot be used; the message says where the fault is and the fix."""


class MissingRowsError(TableError):
    """Signatures that a table has no row for.

    Attributes:
        table: name of the table.
        signatures: every absent one, without repetition.
        command: the command that measures them.
    """

    def __init__(self, table: str, signatures: Sequence[BlockSignature], command: str) -> None:
        super().__init__(table, signatures, command)  # all three, so that workers can pickle it
        self.table = table
        self.signatures = tuple(signatures)
        self.command = command

    def __str__(self) -> str:
        rows = "row" if len(self.signatures) == 1 else "rows"
        return "\n".join(
            [
                f"latency table '{self.table}' lacks {len(self.signatures)} {rows}:",
                *(f"  {s} ({s.details})" if s.details else f"  {s}" for s in self.signatures),
                f"measure on that device with: {self.command}",
            ]
        )


class TableMetadata(BaseModel):
    """On what, how and when the rows of a table were obtained.

    Attributes:
        format_version: of the two files; 1.
        name: how the table is asked for, and its files' name without suffix.
        device: the whole thing, as its owner would call it: ``iPhone 14 Pro``.
        chip: the processor that ran the blocks: ``A16 Bionic``.
        os: operating system and version: ``iOS 17.2``.
        runtime: what executed the blocks: ``torch``, ``coreml``, ``tensorrt``.
        runtime_version: its version.
        precision: of weights and activations: ``fp32``, ``bf16``, ``fp16``.
        attention: layout of attention; ``stock`` is that of diffusers.
        threads: CPU threads, where they matter.
        method: ``measured`` block by block, ``published`` by others, ``derived`` from published
            figures, or ``interpolated`` between measured rows.
        measured_how: in words: number of timings, warm-up, what was fixed.
        measured_at: the day.
        command: what was run to obtain the rows.
        source: where published figures come from.

    Raises:
        pydantic.ValidationError: (a ``ValueError``) naming each field that is missing, unknown or
            out of its range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    device: _Text
    chip: _Text
    os: _Text
    runtime: _Text
    runtime_version: _Text
    precision: _Text
    attention: _Text = "stock"
    threads: int | None = Field(None, gt=0)
    method: Literal["measured", "published", "derived", "interpolated"]
    measured_how: _Text
    measured_at: date
    command: _Text
    source: _Text | None = None


@dataclass(frozen=True, slots=True)
class LatencyRow:
    """How long one block takes.

    Attributes:
        median_ms: median over the timings, in ms, above 0.
        spread_ms: their interquartile range, in ms; 0 where unknown.
        repetitions: number of timings; 0 where the figure was not measured.

    Raises:
        ValueError: naming the field that is out of its range.
    """

    median_ms: float
    spread_ms: float
    repetitions: int

    def __post_init__(self) -> None:
        if not 0 < self.median_ms < inf:
            raise ValueError(f"median_ms is {self.median_ms}; it must be a number of ms above 0")
        if not 0 <= self.spread_ms < inf:
            raise ValueError(f"spread_ms is {self.spread_ms}; it must be a number of ms from 0 up")
        if self.repetitions < 0:
            raise ValueError(f"repetitions is {self.repetitions}; it must be 0 or more")


ROW_FIELDS = tuple(field.name for field in fields(LatencyRow))


@dataclass(frozen=True)
class LatencyTable:
    """Milliseconds by signature for one device, runtime and precision.

    Attributes:
        metadata: on what, how and when.
        rows: at least one.
        measure_with: the command that errors recommend for absent rows, ``{name}`` standing for
            the table's name.

    Raises:
        TableError: if there is no row.
    """

    metadata: TableMetadata
    rows: Mapping[BlockSignature, LatencyRow]
    measure_with: str = MEASURE_WITH

    def __post_init__(self) -> None:
        if not self.rows:
            raise TableError(
                f"latency table '{self.metadata.name}' has no row; measure with: {self.command}"
            )

    @property
    def command(self) -> str:
        """The command that measures rows for this table."""
        return self.measure_with.format(name=self.metadata.name)

    def latency_ms(self, signatures: Iterable[BlockSignature]) -> float:
        """Sum of the medians of ``signatures``, each as often as it occurs, in ms.

        Raises:
            MissingRowsError: naming every signature that has no row.
        """
        signatures = tuple(signatures)
        try:
            return sum(self.rows[signature].median_ms for signature in signatures)
        except KeyError:
            missing = self.missing(signatures)
            raise MissingRowsError(self.metadata.name, missing, self.command) from None

    def missing(self, signatures: Iterable[BlockSignature]) -> list[BlockSignature]:
        """Those of ``signatures`` that have no row, each once, in their order."""
        return [each for each in dict.fromkeys(signatures) if each not in self.rows]

    def covers(self, signatures: Iterable[BlockSignature]) -> bool:
        """Whether every one of ``signatures`` has a row."""
        return not self.missing(signatures)

    def with_rows(self, other: LatencyTable) -> LatencyTable:
        """This table and the rows of ``other``, which win where both have one.

        Raises:
            TableError: if the two were not taken under the same conditions, naming the fields of
                the metadata that differ.
        """
        differences = [
            f"{field} ({mine!r} and {theirs!r})"
            for field in _SAME_CONDITIONS
            for mine, theirs in [(getattr(self.metadata, field), getattr(other.metadata, field))]
            if mine != theirs
        ]
        if differences:
            raise TableError(
                f"latency tables '{self.metadata.name}' and '{other.metadata.name}' differ in "
                f"{', '.join(differences)}; keep them as two tables"
            )
        return replace(self, rows={**self.rows, **other.rows})
