"""``evounet tables derive``: a total shared out by MACs, no more certain than the total."""

from __future__ import annotations

from pathlib import Path

import pytest
from in_process import Evounet

from experiments.unets import choose_unet
from latency_tables import read_table

ABOUT = """
name = "phone"
device = "a phone"
chip = "P1"
os = "PhoneOS 1"
runtime = "coreml"
runtime_version = "8"
precision = "fp16"
measured_at = 2023-06-01
source = "somebody's paper, Table 1"
"""


@pytest.fixture
def about(tmp_path: Path) -> Path:
    path = tmp_path / "about.toml"
    path.write_text(ABOUT)
    return path


def test_the_rows_add_up_to_the_total_in_proportion_to_macs(
    evounet: Evounet, unet: str, tables: Path, about: Path
) -> None:
    answer = evounet("tables", "derive", unet, "--total-ms", 1700, "--about", about)
    assert answer.code == 0, answer.err
    table = read_table(tables / "phone")
    inventory = choose_unet(unet).inventory
    full = inventory.full()
    total = table.latency_ms(part.signature for part in inventory.parts(full))
    assert total == pytest.approx(1700, rel=0.03)
    assert table.covers(inventory.all_signatures())
    for part in inventory.parts(full):
        row = table.rows[part.signature]
        assert float(f"{row.median_ms:.1e}") == row.median_ms  # two digits
        share = 1700 * part.macs / inventory.macs(full)
        assert row.median_ms == pytest.approx(max(share, 0.001), rel=0.05)
        assert (row.spread_ms, row.repetitions) == (0, 0)
    assert table.metadata.method == "derived"
    assert table.metadata.source == "somebody's paper, Table 1"
    assert "1700 ms for one pass of batch 2" in table.metadata.measured_how


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "about.toml: no such file; give the TOML file of a table's metadata"),
        (ABOUT.replace("source", "origin"), "field 'origin': unknown, remove it or correct"),
        (ABOUT.split("source")[0], "field 'source': missing, say who published the figure"),
        (ABOUT.replace('chip = "P1"\n', ""), "field 'chip': missing, add it"),
        ("name = ", "about.toml: not a TOML file"),
    ],
)
def test_bad_input_writes_nothing(
    evounet: Evounet, unet: str, tables: Path, about: Path, text: str | None, message: str
) -> None:
    if text is None:
        about.unlink()
    else:
        about.write_text(text)
    arguments = ("tables", "derive", unet, "--total-ms", 1700, "--about", about)
    assert message in evounet.refused(*arguments)
    assert list(tables.iterdir()) == []
