"""Tables as values: sums, missing rows, merging, and the ranges of every field."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toy_table import ABSENT, CONCAT, RESNET, make_metadata, make_table

from latency_tables import BlockSignature, LatencyRow, LatencyTable, MissingRowsError, TableError

ANOTHER_ABSENT = BlockSignature("resnet", 2, 8, 8, 64, 96, temb_channels=512, norm_groups=32)


def test_latency_is_the_sum_of_the_medians_with_repetition(table: LatencyTable) -> None:
    signatures = [RESNET, CONCAT, RESNET]
    expected = sum(table.rows[signature].median_ms for signature in signatures)
    assert table.latency_ms(iter(signatures)) == expected == 2 * 1.25 + 0.0625
    assert table.latency_ms([]) == 0


def test_every_missing_row_is_named_at_once_with_table_and_command(table: LatencyTable) -> None:
    with pytest.raises(MissingRowsError) as caught:
        table.latency_ms(each for each in [ABSENT, RESNET, ANOTHER_ABSENT, ABSENT])
    assert caught.value.signatures == (ABSENT, ANOTHER_ABSENT)
    assert str(caught.value).splitlines() == [
        "latency table 'toy' lacks 2 rows:",
        "  conv_in 4->320 @ 64x64 b2",
        "  resnet 64->96 @ 8x8 b2 (temb_channels=512, norm_groups=32)",
        "measure on a toy with: evounet profile UNET --table toy",
    ]


def test_missing_rows_error_travels_between_processes(table: LatencyTable) -> None:
    with pytest.raises(MissingRowsError) as caught:
        table.latency_ms([ABSENT])
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value)
    assert pickle.loads(pickle.dumps(table)) == table


def test_covers_and_missing(table: LatencyTable) -> None:
    assert table.covers([RESNET, CONCAT])
    assert not table.covers([RESNET, ABSENT])
    assert table.missing([ABSENT, RESNET, ABSENT]) == [ABSENT]


def test_merging_prefers_the_other_tables_rows(table: LatencyTable) -> None:
    newer = LatencyRow(2.0, 0.0, 5)
    merged = table.with_rows(LatencyTable(make_metadata(name="b"), {RESNET: newer, ABSENT: newer}))
    assert merged.metadata == table.metadata
    assert merged.rows == {RESNET: newer, CONCAT: table.rows[CONCAT], ABSENT: newer}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("os", "ToyOS 2"),
        ("runtime", "coreml"),
        ("runtime_version", "2.15"),
        ("method", "derived"),
        ("precision", "bf16"),
        ("attention", "split_einsum"),
        ("chip", "T2"),
        ("threads", 4),
    ],
)
def test_merging_under_other_conditions_is_refused(
    table: LatencyTable, field: str, value: object
) -> None:
    with pytest.raises(TableError, match=rf"differ in {field} \(.*{value!r}\); keep them"):
        table.with_rows(make_table(**{field: value}))


def test_a_table_without_rows_is_refused() -> None:
    with pytest.raises(TableError, match="has no row; measure on a toy with: evounet profile UNET"):
        LatencyTable(make_metadata(), {})


@pytest.mark.parametrize(
    ("changes", "measure_with", "remedy"),
    [
        ({}, None, "measure on a toy with: evounet profile UNET --table toy"),
        ({}, "make rows", "measure on a toy with: make rows"),
        (
            {"runtime": "tensorrt"},
            None,
            "measure on a toy as the others were: evounet profile toy --table toy",
        ),
        ({"runtime": "tensorrt"}, "make rows", "measure on a toy with: make rows"),
        (
            {"method": "published"},
            None,
            "its figures are published: add the rows, or use another table",
        ),
    ],
)
def test_what_to_do_about_missing_rows(
    changes: dict[str, object], measure_with: str | None, remedy: str
) -> None:
    table = replace(make_table(**changes), measure_with=measure_with)
    assert table.remedy == remedy
    with pytest.raises(MissingRowsError) as caught:
        table.latency_ms([ABSENT])
    assert str(caught.value).splitlines()[-1] == remedy


def test_signatures_are_ordered_hashable_and_readable() -> None:
    assert str(RESNET) == "resnet 64->96 @ 8x8 b2"
    assert RESNET.details == "temb_channels=256, norm_groups=32"
    assert RESNET.description == f"{RESNET} ({RESNET.details})"
    assert CONCAT.details == ""
    assert CONCAT.description == str(CONCAT) == "skip_concat 64->128 @ 8x8 b2"
    assert sorted([CONCAT, RESNET]) == [RESNET, CONCAT]
    assert len({RESNET, RESNET, CONCAT}) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "resnt"}, "kind 'resnt' is unknown; use one of resnet, "),
        ({"batch": 0}, "batch is 0; it must be 1 or more"),
        ({"heads": -1}, "heads is -1; it must be 0 or more"),
        ({"linear_projection": 2}, "linear_projection is 2; it must be 0 or 1"),
    ],
)
def test_signature_fields_out_of_range(changes: dict[str, object], message: str) -> None:
    sizes = {"batch": 2, "height": 8, "width": 8, "in_channels": 64, "out_channels": 64}
    values: dict[str, Any] = {"kind": "resnet", **sizes, **changes}
    with pytest.raises(ValueError, match=message):
        BlockSignature(**values)


def test_reading_and_summing_needs_no_torch(saved: Path) -> None:
    script = f"""
import sys
import latency_tables
table = latency_tables.load_table({str(saved)!r})
table.latency_ms(table.rows)
latency_tables.available_tables()
assert not {{"torch", "diffusers"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])
