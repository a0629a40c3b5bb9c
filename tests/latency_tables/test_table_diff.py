"""Two tables side by side."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_table import ABSENT, CONCAT, RESNET, make_metadata, make_table

from latency_tables import LatencyRow, LatencyTable, TableDiff


def test_rows_are_common_or_in_one_only() -> None:
    first = make_table()  # RESNET 1.25 ms, CONCAT 0.0625 ms
    rows = {ABSENT: LatencyRow(9.0, 0.0, 1), RESNET: LatencyRow(2.5, 0.1, 30)}
    diff = TableDiff.of(first, LatencyTable(make_metadata(name="b", precision="bf16"), rows))
    assert diff.conditions == ("precision ('fp32' and 'bf16')",)
    assert list(diff.common) == [RESNET]
    assert diff.common[RESNET].ratio == diff.median_ratio == 2
    assert diff.total_ms == (1.25, 2.5)
    assert (diff.only_first, diff.only_second) == ((CONCAT,), (ABSENT,))


def test_without_common_rows_there_is_no_ratio() -> None:
    other = replace(make_table(), rows={ABSENT: LatencyRow(9.0, 0.0, 1)})
    assert TableDiff.of(make_table(), other).median_ratio is None


@pytest.mark.parametrize(("median_ms", "within"), [(1.35, True), (1.45, True), (1.46, False)])
def test_differences_within_the_larger_spread(median_ms: float, within: bool) -> None:
    rows = {RESNET: LatencyRow(median_ms, 0.2, 30)}  # against 1.25 ms, spread 0.1 ms
    pair = TableDiff.of(make_table(), replace(make_table(), rows=rows)).common[RESNET]
    assert pair.within_spread is within


row = st.builds(LatencyRow, st.floats(0.001, 1000), st.floats(0, 10), st.integers(0, 50))
tables = st.dictionaries(st.sampled_from([RESNET, CONCAT, ABSENT]), row, min_size=1).map(
    lambda rows: LatencyTable(make_metadata(), rows)
)


@given(tables, tables)
@settings(max_examples=25, deadline=None)
def test_the_other_way_round_everything_is_mirrored(
    first: LatencyTable, second: LatencyTable
) -> None:
    there, back = TableDiff.of(first, second), TableDiff.of(second, first)
    assert (there.only_first, there.only_second) == (back.only_second, back.only_first)
    assert there.total_ms == back.total_ms[::-1]
    for signature, pair in there.common.items():
        assert pair.ratio * back.common[signature].ratio == pytest.approx(1)
        assert pair.within_spread == back.common[signature].within_spread
    assert {*there.common, *there.only_first} == set(first.rows)
