"""Measuring rows: what a profiler is, and timing that drift of the machine does not bend."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Protocol, TypedDict

from latency_tables.signature import BlockSignature
from latency_tables.table import LatencyRow

NOISY_SPREAD = 0.15  # of the median

# Enough blocks to spread a drift over, few enough to hold their weights in memory together.
_CHUNK = 16
# One timing spans at least this, so that the clock and the call do not count.
_SHORTEST_TIMING_S = 2e-3


class Conditions(TypedDict):
    """What a profiler knows of a table's metadata; see :class:`TableMetadata` for the fields."""

    device: str
    chip: str
    os: str
    runtime: str
    runtime_version: str
    precision: str
    threads: int | None


class BlockProfiler(Protocol):
    """Runs blocks on a device: inherit from it, and :func:`profile` measures them."""

    def describe(self) -> Conditions:
        """On what the blocks run; unpack it into :class:`TableMetadata`."""
        ...

    def prepare(self, signature: BlockSignature) -> Callable[[], object]:
        """Build the block of a signature and its inputs, on the device.

        Returns:
            One run of the block, which returns when the device has finished. It holds the block's
            memory and is called within :meth:`session`.
        """
        ...

    def session(self) -> AbstractContextManager[None]:
        """What has to be set while blocks are prepared and timed, and restored afterwards."""
        return nullcontext()


def profile(
    signatures: Iterable[BlockSignature],
    profiler: BlockProfiler,
    *,
    repetitions: int = 3,
    warmup: int = 1,
    rounds: int = 10,
    on_progress: Callable[[int, int], None] | None = None,
    on_rows: Callable[[Mapping[BlockSignature, LatencyRow]], None] | None = None,
) -> dict[BlockSignature, LatencyRow]:
    """Measure signatures in turns, so that a drift of the machine's speed meets all alike.

    A few signatures are prepared at a time; in each round each of them is timed in turn. Short
    blocks run several times within one timing.

    Args:
        signatures: to be measured; repeated ones count once.
        profiler: runs them.
        repetitions: timings of a signature in one round.
        warmup: untimed runs of a signature at the start of each round.
        rounds: turns of every signature.
        on_progress: called after every turn with the number done and the number in all.
        on_rows: called with finished rows as soon as there are some, so that an interruption
            loses little.

    Returns:
        For each signature, median and interquartile range over its ``repetitions * rounds``
        timings, in ms.

    Raises:
        ValueError: if that makes fewer than 2 timings.
    """
    if repetitions * rounds < 2:
        raise ValueError("repetitions * rounds must be 2 or more to know a spread")
    distinct = list(dict.fromkeys(signatures))
    total = len(distinct) * rounds
    rows: dict[BlockSignature, LatencyRow] = {}
    turns = 0

    def take_turn(timing: _Timing) -> None:
        nonlocal turns
        timing.take(repetitions, warmup)
        turns += 1
        if on_progress is not None:
            on_progress(turns, total)

    def measure(chunk: Sequence[BlockSignature]) -> dict[BlockSignature, LatencyRow]:
        timings = [_Timing.of(signature, profiler, warmup) for signature in chunk]
        for _ in range(rounds):
            for timing in timings:
                take_turn(timing)
        return {timing.signature: _row(timing.times_ms) for timing in timings}

    with profiler.session():
        for start in range(0, len(distinct), _CHUNK):
            finished = measure(distinct[start : start + _CHUNK])
            rows |= finished
            if on_rows is not None:
                on_rows(finished)
    return rows


def noisy(row: LatencyRow) -> bool:
    """Whether the timings of a row spread over more than 15 % of their median."""
    return row.spread_ms > NOISY_SPREAD * row.median_ms


@dataclass
class _Timing:
    """A prepared block, the number of its runs in one timing, and its timings so far."""

    signature: BlockSignature
    run: Callable[[], object]
    runs: int
    times_ms: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, signature: BlockSignature, profiler: BlockProfiler, warmup: int) -> _Timing:
        run = profiler.prepare(signature)
        _seconds(run, warmup + 1)  # the first run also allocates and compiles
        runs = 1
        while _seconds(run, runs) < _SHORTEST_TIMING_S:
            runs *= 2
        return cls(signature, run, runs)

    def take(self, repetitions: int, warmup: int) -> None:
        _seconds(self.run, warmup)
        for _ in range(repetitions):
            self.times_ms.append(1000 * _seconds(self.run, self.runs) / self.runs)


def _seconds(run: Callable[[], object], times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        run()
    return time.perf_counter() - start


def _row(times_ms: Sequence[float]) -> LatencyRow:
    lower, _, upper = quantiles(times_ms, n=4, method="inclusive")
    # Rounded to 10 ns, far below what can be told apart, to keep the files readable.
    return LatencyRow(round(median(times_ms), 5), round(upper - lower, 5), len(times_ms))
