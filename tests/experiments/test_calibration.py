"""From the sum of parts to whole UNets: the fit, what it changes, and the command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from in_process import SMALL, Evounet, invented_table

from evaluators.latency import TableLatency
from experiments.calibration import (
    WholePasses,
    calibrated,
    calibration_architectures,
    random_architecture,
)
from experiments.unets import ChosenUNet, choose_unet
from latency_tables import LatencyTable, TableError, read_table, write_table
from supernet.inventory import take_inventory, unet_config

INVENTORY = take_inventory(unet_config(SMALL))
UNET = ChosenUNet("small", "small", INVENTORY, INVENTORY.full())
TABLE = invented_table(INVENTORY)


def passes(overhead_ms: float, factor: float) -> WholePasses:
    """As they would be measured if the parts told all but an overhead and a factor."""
    latency = TableLatency(INVENTORY, TABLE)
    architectures = calibration_architectures(INVENTORY, 6)
    times = [overhead_ms + factor * latency(architecture) for architecture in architectures]
    return WholePasses(tuple(architectures), tuple((t - 1, t, t + 1) for t in times))


def relative_error(of: TableLatency, measured: WholePasses) -> float:
    pairs = list(zip(measured.architectures, measured.medians_ms, strict=True))
    return sum(abs(of(architecture) - ms) / ms for architecture, ms in pairs) / len(pairs)


@given(overhead_ms=st.floats(0.01, 30.0), factor=st.floats(0.5, 2.0))
@settings(deadline=None, max_examples=20)
def test_an_overhead_and_a_factor_are_found(overhead_ms: float, factor: float) -> None:
    latency = TableLatency(INVENTORY, calibrated(UNET, TABLE, passes(overhead_ms, factor), "none"))
    plain = TableLatency(INVENTORY, TABLE)
    assert latency.factor == pytest.approx(factor, abs=1e-4)
    assert latency.overhead_ms == pytest.approx(overhead_ms, abs=2e-5)
    for architecture in (INVENTORY.full(), INVENTORY.smallest()):
        expected = overhead_ms + factor * plain(architecture)
        assert latency(architecture) == pytest.approx(expected, rel=2e-4)


def test_noise_of_one_pass_is_shared_out() -> None:
    """Whichever pass is off, the smallest one too, the fit is closer to all than its sum was."""
    clean = passes(5.0, 1.2)
    for i in range(len(clean.architectures)):
        times = list(clean.times_ms)
        times[i] = tuple(1.1 * t for t in times[i])
        noisy = WholePasses(clean.architectures, tuple(times))
        latency = TableLatency(INVENTORY, calibrated(UNET, TABLE, noisy, "none"))
        assert relative_error(latency, clean) < 0.05
        [calibration] = latency.table.metadata.calibrations
        assert calibration.mape_pct == pytest.approx(100 * relative_error(latency, noisy), abs=0.02)


def test_a_sum_that_is_too_large_leaves_next_to_no_overhead() -> None:
    measured = passes(-1.0, 0.7)
    latency = TableLatency(INVENTORY, calibrated(UNET, TABLE, measured, "none"))
    plain = TableLatency(INVENTORY, TABLE)
    assert latency.overhead_ms == 1e-5
    assert latency.factor < 0.7
    assert relative_error(latency, measured) < relative_error(plain, measured) / 4
    for block in INVENTORY.blocks:
        saved = plain.saved_by_removing(block.id)
        assert latency.saved_by_removing(block.id) == pytest.approx(latency.factor * saved)


def test_passes_that_tell_nothing_are_refused() -> None:
    """On a busy machine the smallest UNet may happen to be the slowest."""
    upside_down = passes(100.0, -0.01)
    with pytest.raises(TableError, match="the machine was too busy to tell; close other programs"):
        calibrated(UNET, TABLE, upside_down, "none")


def test_only_the_unet_that_was_measured_is_calibrated() -> None:
    table = calibrated(UNET, TABLE, passes(5.0, 1.3), "none")
    other = take_inventory(unet_config(SMALL), batch=1)
    both = replace(table, rows={**table.rows, **invented_table(other).rows})
    latency = TableLatency(other, both)
    assert (latency.factor, latency.overhead_ms) == (1.0, 0.0)


def test_a_calibration_survives_its_files_and_a_newer_one_replaces_it(tmp_path: Path) -> None:
    table = calibrated(UNET, TABLE, passes(5.0, 1.3), "the first")
    assert read_table(write_table(table, tmp_path)) == table
    again = calibrated(UNET, table, passes(5.0, 1.1), "the second")
    assert [c.command for c in again.metadata.calibrations] == ["the second"]
    assert again.rows.keys() == table.rows.keys()
    assert again.metadata.calibrations[0].factor < table.metadata.calibrations[0].factor


def test_architectures_reach_from_no_block_to_two_of_each() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = [random_architecture(INVENTORY, generator) for _ in range(60)]
    blocks = [sum(count for _, count in architecture.blocks) for architecture in drawn]
    most = sum(1 if block.changes_shape else 2 for block in INVENTORY.blocks)
    assert min(blocks) < 0.15 * most
    assert max(blocks) > 0.85 * most
    assert any(architecture.added and architecture.removed for architecture in drawn)


# --- the command


CALIBRATE = ("--architectures", 3, "--rounds", 7)


def test_a_profiled_table_is_calibrated(evounet: Evounet, unet: str, tables: Path) -> None:
    assert evounet("profile", unet, "--table", "here", "--threads", 1, "--rounds", 2).code == 0
    before = read_table(tables / "here")
    answer = evounet("tables", "calibrate", unet, "--table", "here", *CALIBRATE)
    assert answer.code == 0, answer.err
    table = read_table(tables / "here")
    inventory = choose_unet(unet).inventory
    latency = TableLatency(inventory, table)
    assert latency.overhead_ms > 0
    assert f"factor {latency.factor:.4f}" in answer.out
    assert table.rows.keys() - before.rows.keys() == {inventory.overhead}
    assert table.rows[inventory.overhead].repetitions == 7
    assert "overhead" in evounet("analyze", unet, "--table", "here").out

    # Rows of one more batch leave the calibration alone; new rows for its own UNet do not.
    quick = ("--table", "here", "--rounds", 2)
    assert evounet("profile", unet, *quick, "--batch", 1).code == 0
    assert read_table(tables / "here").metadata.calibrations == table.metadata.calibrations
    assert evounet("profile", unet, *quick, "--again").code == 0
    again = read_table(tables / "here")
    assert again.metadata.calibrations == ()
    assert inventory.overhead not in again.rows


def published(table: LatencyTable) -> LatencyTable:
    return replace(table, metadata=table.metadata.model_copy(update={"method": "published"}))


def of_onnx(table: LatencyTable) -> LatencyTable:
    changes = {"runtime": "onnxruntime", "threads": 1}
    return replace(table, metadata=table.metadata.model_copy(update=changes))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, "no latency table 'here' yet; measure its rows first with: evounet profile"),
        (published, "cannot add rows to latency table 'here'; its figures are published"),
        (of_onnx, "is of runtime onnxruntime, with which evounet runs blocks and no whole models"),
        (replace, "differ in "),
    ],
)
def test_what_cannot_be_calibrated_is_refused(
    evounet: Evounet, unet: str, tables: Path, change: object, message: str
) -> None:
    if change is not None:
        table = invented_table(choose_unet(unet).inventory, name="here")
        write_table(change(table), tables)
    before = {path.name: path.read_bytes() for path in tables.iterdir()}
    arguments = ("tables", "calibrate", unet, "--table", "here", *CALIBRATE)
    assert message in evounet.refused(*arguments)
    assert {path.name: path.read_bytes() for path in tables.iterdir()} == before


def test_rows_that_are_missing_are_named(evounet: Evounet, unet: str, tables: Path) -> None:
    inventory = choose_unet(unet).inventory
    table = invented_table(inventory, name="here")
    fewer = dict(list(table.rows.items())[1:])
    write_table(replace(table, rows=fewer), tables)
    answer = evounet("tables", "calibrate", unet, "--table", "here", *CALIBRATE)
    assert answer.code == 2
    assert str(next(iter(table.rows))) in answer.err
