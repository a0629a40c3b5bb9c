"""What holds of every latency table and every profiler, as tests to inherit.

A package that brings a table or a profiler of its own checks it with pytest::

    class TestMyPhone(TableContract):
        @pytest.fixture
        def table(self):
            return load_table("my-phone-fp16")

    class TestMyRuntime(ProfilerContract):
        @pytest.fixture
        def profiler(self):
            return MyRuntimeProfiler()
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from functools import partial
from typing import TypeVar

from latency_tables.profiling import BlockProfiler, profile
from latency_tables.signature import MODULE_KINDS, BlockSignature
from latency_tables.table import LatencyTable, MissingRowsError, TableError, TableMetadata
from latency_tables.table_files import read_table, write_table

# A small one of every kind, so that a profiler is through them in seconds.
SMALL_SIGNATURES: tuple[BlockSignature, ...] = (
    BlockSignature("resnet", 2, 8, 8, 16, 16, temb_channels=32, norm_groups=4),
    BlockSignature("resnet", 2, 8, 6, 16, 24, temb_channels=32, norm_groups=4),
    BlockSignature(
        "cross_attention",
        *(2, 8, 8, 16, 16),
        heads=2,
        transformer_layers=2,
        context_length=5,
        context_width=12,
        norm_groups=4,
    ),
    BlockSignature(
        "cross_attention", 1, 4, 4, 16, 16, 0, 4, 1, 5, 12, linear_projection=1, norm_groups=4
    ),
    BlockSignature("shortcut", 2, 8, 8, 16, 24),
    BlockSignature("downsample", 2, 8, 6, 16, 16),
    BlockSignature("upsample", 2, 8, 6, 16, 16),
    BlockSignature("conv_in", 2, 8, 8, 4, 16),
    BlockSignature("conv_out", 2, 8, 8, 16, 4, norm_groups=4),
    BlockSignature("conv_out", 2, 8, 8, 16, 4),
    BlockSignature("time_embedding", 2, 1, 1, 16, 32, temb_channels=32),
    BlockSignature("text_time_embedding", 2, 1, 1, 16, 32, temb_channels=32),
    BlockSignature("resnet", 2, 8, 8, 16, 24, norm_groups=4),
    BlockSignature("self_attention", 2, 8, 6, 16, 16, heads=1, norm_groups=4),
    BlockSignature("tiny_block", 2, 8, 6, 16, 16),
    BlockSignature("skip_concat", 2, 8, 8, 16, 40),
)


class TableContract:
    """Inherit, and give a fixture ``table``: a :class:`LatencyTable` as its source loads it."""

    def test_it_tells_where_its_figures_come_from(self, table: LatencyTable) -> None:
        about = table.metadata
        if about.method == "measured":
            assert all(row.repetitions >= 2 for row in table.rows.values())
        else:
            assert about.source, f"figures that are {about.method} need a source"
            assert all(row.repetitions == 0 for row in table.rows.values())
        assert about.measured_at <= date.today()

    def test_the_latency_of_parts_is_the_sum_of_their_rows(self, table: LatencyTable) -> None:
        signatures = list(table.rows)
        medians = [table.rows[signature].median_ms for signature in signatures]
        assert all(0 < each < math.inf for each in medians)
        assert table.latency_ms([]) == 0
        assert math.isclose(table.latency_ms(signatures * 2), 2 * math.fsum(medians))

    def test_all_absent_rows_are_named_at_once(self, table: LatencyTable) -> None:
        # A part may be there at several batches, and would then be absent once alone.
        absent = list(dict.fromkeys(replace(each, batch=10_007) for each in table.rows))[:3]
        assert not table.covers(absent)
        error = _raised(MissingRowsError, lambda: table.latency_ms([*table.rows, *absent]))
        assert list(error.signatures) == absent
        assert all(signature.description in str(error) for signature in absent)
        assert table.remedy in str(error)

    def test_both_files_give_it_back(self, table: LatencyTable) -> None:
        with tempfile.TemporaryDirectory() as folder:
            write_table(table, folder)
            assert read_table(f"{folder}/{table.metadata.name}") == table

    def test_rows_of_other_conditions_are_refused(self, table: LatencyTable) -> None:
        for field in ("os", "runtime", "precision", "compute_unit", "attention", "chip"):
            metadata = table.metadata.model_copy(update={field: "another one"})
            other = replace(table, metadata=metadata)
            assert field in str(_raised(TableError, partial(table.with_rows, other)))


class ProfilerContract:
    """Inherit, and give a fixture ``profiler``; override :attr:`signatures` to leave some out."""

    signatures: Sequence[BlockSignature] = SMALL_SIGNATURES

    def test_every_kind_is_tried(self) -> None:
        assert {signature.kind for signature in SMALL_SIGNATURES} == set(MODULE_KINDS)

    def test_it_measures_every_kind(self, profiler: BlockProfiler) -> None:
        rows = profile(self.signatures, profiler, rounds=2, warmup_rounds=1)
        assert list(rows) == list(self.signatures)
        assert all(row.repetitions == 2 for row in rows.values())
        assert all(0 < row.median_ms < math.inf for row in rows.values())

    def test_its_conditions_complete_a_table(self, profiler: BlockProfiler) -> None:
        rows = profile(self.signatures[:2], profiler, rounds=2, warmup_rounds=0)
        metadata = TableMetadata(
            name="contract",
            method="measured",
            measured_how="2 timings",
            measured_at=date.today(),
            command="pytest",
            **profiler.describe(),
        )
        table = LatencyTable(metadata, rows)
        assert table.with_rows(table) == table

    def test_twice_the_same_conditions(self, profiler: BlockProfiler) -> None:
        assert profiler.describe() == profiler.describe()


_Error = TypeVar("_Error", bound=Exception)


def _raised(kind: type[_Error], action: Callable[[], object]) -> _Error:
    """What ``pytest.raises`` gives, without a need for pytest where evounet is installed."""
    try:
        action()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} was raised")
