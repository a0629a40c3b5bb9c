"""Timing: in turns, bounded in memory, statistics as documented."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from toy_table import CONCAT, RESNET

from latency_tables import (
    BlockProfiler,
    BlockSignature,
    Conditions,
    LatencyRow,
    noisy,
    profile,
    profiling,
)


class Block:
    """A block that only notes its runs."""

    def __init__(self, signature: BlockSignature, runs: list[BlockSignature]) -> None:
        self.signature = signature
        self.runs = runs

    def __call__(self) -> None:
        self.runs.append(self.signature)


class ToyProfiler(BlockProfiler):
    def __init__(self) -> None:
        self.alive: weakref.WeakSet[Block] = weakref.WeakSet()
        self.most_alive = 0
        self.runs: list[BlockSignature] = []
        self.in_session = False

    def describe(self) -> Conditions:
        raise AssertionError("profiling blocks does not ask for the conditions")

    def prepare(self, signature: BlockSignature) -> Callable[[], object]:
        assert self.in_session
        block = Block(signature, self.runs)
        self.alive.add(block)
        self.most_alive = max(self.most_alive, len(self.alive))
        return block

    @contextmanager
    def session(self) -> Iterator[None]:
        self.in_session = True
        yield
        self.in_session = False


def test_signatures_take_turns_of_one_run() -> None:
    profiler = ToyProfiler()
    rows = profile([RESNET, CONCAT, RESNET], profiler, rounds=3, warmup_rounds=2)
    assert profiler.runs == 5 * [RESNET, CONCAT]
    assert list(rows) == [RESNET, CONCAT]
    assert all(row.repetitions == 3 for row in rows.values())
    assert not profiler.in_session


def test_turns_that_warm_up_are_not_counted() -> None:
    class Slowing(ToyProfiler):
        def time_ms(self, run: Callable[[], object]) -> float:
            run()
            return float(len(self.runs))

    rows = profile([RESNET], Slowing(), rounds=3, warmup_rounds=4)
    assert rows[RESNET] == LatencyRow(6.0, 1.0, 3)  # of 5, 6 and 7


def test_few_blocks_are_held_at_a_time() -> None:
    profiler = ToyProfiler()
    signatures = [replace(RESNET, height=i) for i in range(2 * profiling._CHUNK + 1)]
    rows = profile(signatures, profiler, rounds=2, warmup_rounds=0)
    assert list(rows) == signatures
    assert profiler.most_alive <= profiling._CHUNK


def test_a_drift_of_the_machine_meets_all_ends_of_the_unet_alike() -> None:
    """Signatures come in forward order: each half of them gets the same mean."""

    class Tiring(ToyProfiler):
        def time_ms(self, run: Callable[[], object]) -> float:
            run()
            return float(len(self.runs))

    signatures = [replace(RESNET, height=i) for i in range(4 * profiling._CHUNK)]
    rows = profile(signatures, Tiring(), rounds=2, warmup_rounds=0)
    medians = [row.median_ms for row in rows.values()]
    half = len(medians) // 2
    early, late = sum(medians[:half]), sum(medians[half:])
    assert late / early == pytest.approx(1, abs=0.2)  # 3 for one chunk after the other


def test_finished_rows_are_handed_out_as_soon_as_there_are_some() -> None:
    profiler = ToyProfiler()
    signatures = [replace(RESNET, height=i) for i in range(profiling._CHUNK + 1)]
    seen: list[tuple[int, int]] = []  # rows, and runs of blocks so far
    rows = profile(
        signatures,
        profiler,
        rounds=2,
        on_rows=lambda rows: seen.append((len(rows), len(profiler.runs))),
    )
    assert [number for number, _ in seen] == [profiling._CHUNK // 2 + 1, profiling._CHUNK // 2]
    assert seen[0][1] < seen[1][1]
    assert list(rows) == signatures


def test_progress_counts_turns() -> None:
    seen: list[tuple[int, int]] = []
    profile(
        [RESNET, CONCAT],
        ToyProfiler(),
        rounds=2,
        warmup_rounds=1,
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(done, 6) for done in range(1, 7)]


def test_median_and_interquartile_range() -> None:
    assert profiling.row_of([5.0, 1.0, 3.0, 2.0, 4.0]) == LatencyRow(3.0, 2.0, 5)


def test_one_timing_has_no_spread() -> None:
    with pytest.raises(ValueError, match="rounds must be 2 or more"):
        profile([RESNET], ToyProfiler(), rounds=1)


def test_noisy_is_a_spread_above_15_percent_of_the_median() -> None:
    assert not noisy(LatencyRow(10.0, 1.5, 30))
    assert noisy(LatencyRow(10.0, 1.6, 30))
