"""Two latency tables side by side: conditions, rows that only one has, ratios of the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from latency_tables.signature import BlockSignature
from latency_tables.table import LatencyRow, LatencyTable


@dataclass(frozen=True)
class RowPair:
    """One signature's rows in both tables."""

    first: LatencyRow
    second: LatencyRow

    @property
    def ratio(self) -> float:
        """Median of the second over that of the first; above 1 where the second is slower."""
        return self.second.median_ms / self.first.median_ms

    @property
    def within_spread(self) -> bool:
        """Whether the medians differ by no more than either row's own timings spread."""
        difference_ms = abs(self.second.median_ms - self.first.median_ms)
        return difference_ms <= max(self.first.spread_ms, self.second.spread_ms)


@dataclass(frozen=True)
class TableDiff:
    """How a second table differs from a first one.

    Attributes:
        conditions: of their metadata that differ, in words.
        common: signatures that both have, in order.
        only_first: signatures that the second lacks, in order.
        only_second: signatures that the first lacks, in order.
    """

    conditions: tuple[str, ...]
    common: Mapping[BlockSignature, RowPair]
    only_first: tuple[BlockSignature, ...]
    only_second: tuple[BlockSignature, ...]

    @classmethod
    def of(cls, first: LatencyTable, second: LatencyTable) -> TableDiff:
        return cls(
            tuple(first.metadata.differences(second.metadata)),
            {
                signature: RowPair(row, second.rows[signature])
                for signature, row in sorted(first.rows.items(), key=lambda item: item[0])
                if signature in second.rows
            },
            tuple(sorted(second.missing(first.rows))),
            tuple(sorted(first.missing(second.rows))),
        )

    @property
    def total_ms(self) -> tuple[float, float]:
        """Sums of the medians of the common rows, each once, in ms."""
        pairs = self.common.values()
        return (
            sum(pair.first.median_ms for pair in pairs),
            sum(pair.second.median_ms for pair in pairs),
        )

    @property
    def median_ratio(self) -> float | None:
        """Median of the common rows' ratios; None where there is no common row."""
        ratios = [pair.ratio for pair in self.common.values()]
        return median(ratios) if ratios else None
