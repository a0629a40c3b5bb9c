"""Latency tables as values: metadata and rows, and the sum over the parts of a UNet."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import date
from functools import cached_property
from math import inf
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from latency_tables.signature import BlockSignature

MEASURE_WITH = "evounet profile {unet} --table {table}"
PROFILED_RUNTIMES = ("torch", "onnxruntime", "coreml")  # what evounet profile runs blocks with
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"

# Milliseconds taken under different ones of these must not end up in one sum.
_SAME_CONDITIONS = (
    "chip",
    "os",
    "runtime",
    "runtime_version",
    "precision",
    "attention",
    "threads",
    "compute_unit",
    "memory_format",
    "compiled",
    "method",
)

MemoryFormat = Literal["contiguous", "channels_last"]

_Text = Annotated[str, Field(min_length=1)]


class TableError(ValueError):
    """A latency table that cannot be used; the message says where the fault is and the fix."""


class MissingRowsError(TableError):
    """Signatures that a table has no row for.

    Attributes:
        table: name of the table.
        signatures: every absent one, without repetition.
        remedy: what to do about it, with the command that measures them.
    """

    def __init__(self, table: str, signatures: Sequence[BlockSignature], remedy: str) -> None:
        super().__init__(table, signatures, remedy)  # all three, so that workers can pickle it
        self.table = table
        self.signatures = tuple(signatures)
        self.remedy = remedy

    def __str__(self) -> str:
        rows = "row" if len(self.signatures) == 1 else "rows"
        return "\n".join(
            [
                f"latency table '{self.table}' lacks {len(self.signatures)} {rows}:",
                *(f"  {signature.description}" for signature in self.signatures),
                self.remedy,
            ]
        )


class Calibration(BaseModel):
    """What whole passes of one UNet, under several architectures, told about the sum of its parts.

    Attributes:
        unet: as its user typed it.
        base: digest of its configuration.
        batch: pictures per pass.
        height: of the latents.
        width: likewise.
        factor: measured latency, without the overhead, over the sum of the rows; fitted to the
            least squares of the relative errors.
        architectures: how many it was fitted on.
        mape_pct: mean absolute error that is left on them, in % of what was measured.
        command: what was run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    unet: _Text
    base: _Text
    batch: int = Field(gt=0)
    height: int = Field(gt=0)
    width: int = Field(gt=0)
    factor: float = Field(gt=0, lt=inf)
    architectures: int = Field(ge=2)
    mape_pct: float = Field(ge=0)
    command: _Text

    @property
    def key(self) -> tuple[str, int, int, int]:
        """The UNet that it is of: configuration, batch, height, width."""
        return self.base, self.batch, self.height, self.width


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
        compute_unit: what of the chip ran the blocks, where there is a choice: ``cpu``, ``cuda``,
            ``cpu_and_ne`` (Core ML's name of the Neural Engine with the CPU).
        memory_format: of feature maps.
        compiled: whether the runtime compiled blocks as wholes (``torch.compile``, Core ML).
        method: ``measured`` block by block, ``published`` by others, ``derived`` from published
            figures, or ``interpolated`` between measured rows.
        measured_how: in words: number of timings, warm-up, what was fixed.
        measured_at: the day.
        command: what was run to obtain the rows.
        source: where published figures come from.
        calibrations: of the UNets whose whole passes were measured, too.

    Raises:
        pydantic.ValidationError: (a ``ValueError``) naming each field that is missing, unknown or
            out of its range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    name: str = Field(pattern=NAME_PATTERN)
    device: _Text
    chip: _Text
    os: _Text
    runtime: _Text
    runtime_version: _Text
    precision: _Text
    attention: _Text = "stock"
    threads: int | None = Field(None, gt=0)
    compute_unit: _Text | None = None
    memory_format: MemoryFormat = "contiguous"
    compiled: bool = False
    method: Literal["measured", "published", "derived", "interpolated"]
    measured_how: _Text
    measured_at: date
    command: _Text
    source: _Text | None = None
    calibrations: tuple[Calibration, ...] = ()

    def differences(self, other: TableMetadata) -> list[str]:
        """The conditions in which two tables differ: ``precision ('fp32' and 'bf16')``."""
        return [
            f"{name} ({mine!r} and {theirs!r})"
            for name in _SAME_CONDITIONS
            for mine, theirs in [(getattr(self, name), getattr(other, name))]
            if mine != theirs
        ]


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


ROW_FIELDS = tuple(each.name for each in fields(LatencyRow))


@dataclass(frozen=True)
class LatencyTable:
    """Milliseconds by signature for one device, runtime and precision.

    Attributes:
        metadata: on what, how and when.
        rows: at least one.
        measure_with: the command that errors recommend for absent rows, where it is not
            ``evounet profile UNET --table NAME``. It is no part of the table: two that differ
            in nothing else are equal.

    Raises:
        TableError: if there is no row.
    """

    metadata: TableMetadata
    rows: Mapping[BlockSignature, LatencyRow]
    measure_with: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not self.rows:
            raise TableError(f"latency table '{self.metadata.name}' has no row; {self.remedy}")

    @cached_property
    def digest(self) -> str:
        """SHA-256 of metadata and rows: 64 hexadecimal digits that tell it from any other."""
        text = self.metadata.model_dump_json()
        rows = sorted((repr(signature), repr(row)) for signature, row in self.rows.items())
        return hashlib.sha256(f"{text}{rows}".encode()).hexdigest()

    @property
    def is_profiled(self) -> bool:
        """Whether ``evounet profile`` can measure further rows, given the device."""
        return self.metadata.method == "measured" and self.metadata.runtime in PROFILED_RUNTIMES

    @property
    def remedy(self) -> str:
        """What to do about absent rows: the command that measures them, and on what device."""
        conditions = self.metadata
        command = self.measure_with
        if command is None and conditions.method != "measured":
            return f"its figures are {conditions.method}: add the rows, or use another table"
        if command is None and not self.is_profiled:
            return f"measure on {conditions.device} as the others were: {conditions.command}"
        if command is None:
            command = MEASURE_WITH.format(unet="UNET", table=conditions.name)
        return f"measure on {conditions.device} with: {command}"

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
            raise MissingRowsError(self.metadata.name, missing, self.remedy) from None

    def factor(self, base: str, batch: int, height: int, width: int) -> float:
        """What the sum of a UNet's rows is multiplied with; 1 where it was not calibrated."""
        known = {each.key: each.factor for each in self.metadata.calibrations}
        return known.get((base, batch, height, width), 1.0)

    def calibrated(self, calibration: Calibration, overhead: LatencyTable) -> LatencyTable:
        """This table with the calibration of one more UNet, which replaces an older one of it.

        Args:
            calibration: the UNet's.
            overhead: a table of its overhead row alone, taken under the same conditions.

        Raises:
            TableError: if the conditions differ.
        """
        others = [c for c in self.metadata.calibrations if c.key != calibration.key]
        metadata = self.metadata.model_copy(update={"calibrations": (*others, calibration)})
        return replace(self.with_rows(overhead), metadata=metadata)

    def uncalibrated(self) -> LatencyTable:
        """This table without calibrations and overheads, which fit only the rows of their day."""
        rows = {s: row for s, row in self.rows.items() if s.kind != "overhead"}
        metadata = self.metadata.model_copy(update={"calibrations": ()})
        return replace(self, metadata=metadata, rows=rows)

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
        self.check_conditions(other.metadata)
        return replace(self, rows={**self.rows, **other.rows})

    def check_conditions(self, other: TableMetadata) -> None:
        """Refuse rows that were not taken under this table's conditions.

        Raises:
            TableError: naming the fields of the metadata that differ.
        """
        differences = self.metadata.differences(other)
        if differences:
            raise TableError(
                f"latency tables '{self.metadata.name}' and '{other.name}' differ in "
                f"{', '.join(differences)}; keep them as two tables"
            )
