"""Measuring rows: what a profiler is, and timing that drift of the machine does not bend."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from statistics import median, quantiles
from typing import TYPE_CHECKING, Protocol, TypedDict, runtime_checkable

from latency_tables.signature import BlockSignature
from latency_tables.table import LatencyRow, MemoryFormat

if TYPE_CHECKING:
    from torch import Tensor, nn

NOISY_SPREAD = 0.15  # of the median

# Parts that take turns. Together they are far larger than the caches that a block's weights could
# stay in between two of its turns: in a UNet, too, every block comes to its weights anew.
_CHUNK = 32


class Conditions(TypedDict):
    """What a profiler knows of a table's metadata; see :class:`TableMetadata` for the fields."""

    device: str
    chip: str
    os: str
    runtime: str
    runtime_version: str
    precision: str
    threads: int | None
    compute_unit: str | None
    memory_format: MemoryFormat
    compiled: bool


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

    def time_ms(self, run: Callable[[], object]) -> float:
        """One timing of one run, in ms; by the wall clock unless the device has a better one."""
        start = time.perf_counter()
        run()
        return 1000 * (time.perf_counter() - start)

    def session(self) -> AbstractContextManager[None]:
        """What has to be set while blocks are prepared and timed, and restored afterwards."""
        return nullcontext()


@runtime_checkable
class ModuleProfiler(BlockProfiler, Protocol):
    """One that runs any torch module, so that whole UNets can be timed like their parts."""

    def prepare(self, signature: BlockSignature) -> Callable[[], object]:
        from latency_tables.profilers.torch_blocks import build_block

        return self.prepare_module(*build_block(signature))

    def prepare_module(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> Callable[[], object]:
        """One run of a module under the profiler's conditions; the module is changed to them."""
        ...


def profile(
    signatures: Iterable[BlockSignature],
    profiler: BlockProfiler,
    *,
    rounds: int = 30,
    warmup_rounds: int = 2,
    on_progress: Callable[[int, int], None] | None = None,
    on_rows: Callable[[Mapping[BlockSignature, LatencyRow]], None] | None = None,
) -> dict[BlockSignature, LatencyRow]:
    """Measure signatures in turns of one run each.

    So a drift of the machine's speed meets all of them alike, and each is timed as it runs in a
    UNet: after others, with its weights out of the nearest caches. The same block in a tight loop
    is faster than it ever is in a UNet.

    Args:
        signatures: to be measured; repeated ones count once.
        profiler: runs them.
        rounds: turns of every signature that are timed.
        warmup_rounds: turns before them that are not.
        on_progress: called after every turn with the number done and the number in all.
        on_rows: called with finished rows as soon as there are some, so that an interruption
            loses little.

    Returns:
        For each signature, median and interquartile range over its ``rounds`` timings, in ms.

    Raises:
        ValueError: if that makes fewer than 2 timings.
    """
    if rounds < 2:
        raise ValueError("rounds must be 2 or more to know a spread")
    distinct = list(dict.fromkeys(signatures))
    total = len(distinct) * (warmup_rounds + rounds)
    rows: dict[BlockSignature, LatencyRow] = {}
    turns = 0

    def measure(chunk: Sequence[BlockSignature]) -> dict[BlockSignature, LatencyRow]:
        nonlocal turns
        runs = {signature: profiler.prepare(signature) for signature in chunk}
        times_ms: dict[BlockSignature, list[float]] = {signature: [] for signature in chunk}
        for _ in range(warmup_rounds + rounds):
            for signature, run in runs.items():
                times_ms[signature].append(profiler.time_ms(run))
                turns += 1
                if on_progress is not None:
                    on_progress(turns, total)
        return {signature: row_of(times[warmup_rounds:]) for signature, times in times_ms.items()}

    # Every chunk holds parts from all over the UNet: a drift between chunks then bends all sums
    # alike, where one that met the last stages alone would bend the order of architectures.
    chunks = math.ceil(len(distinct) / _CHUNK)
    with profiler.session():
        for start in range(chunks):
            finished = measure(distinct[start::chunks])
            rows |= finished
            if on_rows is not None:
                on_rows(finished)
    return {signature: rows[signature] for signature in distinct}


def noisy(row: LatencyRow) -> bool:
    """Whether the timings of a row spread over more than 15 % of their median."""
    return row.spread_ms > NOISY_SPREAD * row.median_ms


def row_of(times_ms: Sequence[float]) -> LatencyRow:
    """Median and interquartile range of timings in ms."""
    lower, _, upper = quantiles(times_ms, n=4, method="inclusive")
    # Rounded to 10 ns, far below what can be told apart, to keep the files readable.
    return LatencyRow(round(median(times_ms), 5), round(upper - lower, 5), len(times_ms))
