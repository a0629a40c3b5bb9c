"""``evounet bench tables``: its rivals by hand, and a small run of the whole."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from in_process import SMALL, Evounet, write_json

from experiments.benchmarks import tables
from experiments.calibration import WholePasses
from supernet.inventory import take_inventory, unet_config

INVENTORY = take_inventory(unet_config(SMALL))
SMALLEST, FULL = INVENTORY.smallest(), INVENTORY.full()
HALF = FULL.without(block.id for block in INVENTORY.blocks[::2])


def passes(*times_ms: float) -> WholePasses:
    return WholePasses((SMALLEST, HALF, FULL), tuple((ms,) for ms in times_ms))


def test_the_macs_line_goes_through_what_lies_on_a_line() -> None:
    architectures = (SMALLEST, HALF, FULL)
    exact = passes(*(2.0 + 1e-6 * INVENTORY.macs(each) for each in architectures))
    line = tables._macs_line(INVENTORY, exact)
    other = FULL.without([INVENTORY.blocks[0].id])
    assert line(other) == pytest.approx(2.0 + 1e-6 * INVENTORY.macs(other))


def test_interpolation_knows_its_three_points_and_goes_straight_between() -> None:
    between = tables._interpolation(INVENTORY, passes(1.0, 5.0, 6.0))
    for architecture, ms in ((SMALLEST, 1.0), (HALF, 5.0), (FULL, 6.0)):
        assert between(architecture) == pytest.approx(ms)
    assert tables._piecewise([0, 10, 20], [1.0, 2.0, 4.0], 5) == 1.5
    assert tables._piecewise([0, 10, 20], [1.0, 2.0, 4.0], 15) == 3.0
    assert tables._piecewise([0, 10, 20], [1.0, 2.0, 4.0], 30) == 6.0


def test_accuracy_by_hand() -> None:
    accuracy = tables._accuracy([11.0, 18.0, 30.0], [10.0, 20.0, 30.0])
    assert accuracy["mape_pct"] == pytest.approx(20 / 3)
    assert accuracy["worst_pct"] == pytest.approx(10)
    assert accuracy["spearman"] == pytest.approx(1, abs=1e-4)
    assert tables._accuracy([3.0, 2.0, 1.0], [1.0, 2.0, 3.0])["spearman"] == pytest.approx(
        -1, abs=1e-4
    )


def test_noise_by_hand() -> None:
    timings = WholePasses((SMALLEST, FULL), ((10.0, 11.0, 9.0), (20.0, 20.0, 26.0)))
    assert tables._noise_pct(timings) == pytest.approx((10 + 10 + 30) / 6)


def test_a_small_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    unet = str(write_json(tmp_path / "small" / "config.json", SMALL))
    small = replace(tables._QUICK, unet=unet, architectures=4, rounds_of_parts=2, rounds_of_unets=2)
    monkeypatch.setattr(tables, "_QUICK", small)
    answer = Evounet(monkeypatch, capsys)(
        "bench", "tables", "--quick", "--json", tmp_path / "figures.json"
    )
    assert answer.code == 0, answer.err
    figures = json.loads((tmp_path / "figures.json").read_text())["figures"]
    assert set(figures) == {
        *("mape_pct", "worst_pct", "spearman"),
        *("plain_mape_pct", "plain_worst_pct", "plain_spearman"),
        *("macs_line_mape_pct", "interpolation_mape_pct", "noise_pct"),
        *("sum_us", "load_ms"),
    }
    assert 0 < figures["mape_pct"] <= figures["worst_pct"]
    assert figures["sum_us"] < 5000
