"""``evounet tables``, and the three ways to plug in a table from outside of the repository."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from in_process import Evounet, invented_table

from experiments.experiment import load_experiment
from latency_tables import LatencyRow, LatencyTable, load_table, read_table, registry, write_table


@pytest.fixture
def table(unet: str) -> LatencyTable:
    return invented_table(unet)


def renamed(table: LatencyTable, name: str) -> LatencyTable:
    return replace(table, metadata=table.metadata.model_copy(update={"name": name}))


def test_listing_tells_what_where_and_what_is_broken(
    evounet: Evounet, table: LatencyTable, tables: Path
) -> None:
    assert evounet("tables", "list").out == f"your own tables are in: {tables}\n"
    path = write_table(table, tables)
    broken = write_table(renamed(table, "broken"), registry.SHIPPED)
    broken.with_suffix(".csv").unlink()
    answer = evounet("tables", "list")
    assert answer.code == 0
    line = next(line for line in answer.out.splitlines() if line.startswith(" toy"))
    for part in ("a toy, T1", "torch 2.14.1", "fp32", "measured 2026-11-24", str(path)):
        assert part in line
    assert str(len(table.rows)) in line.split()
    assert f"{broken.with_suffix('.csv')}: missing beside broken.toml" in answer.out


def test_showing_prints_metadata_and_every_row(
    evounet: Evounet, table: LatencyTable, tables: Path
) -> None:
    signature = next(iter(table.rows))
    rows = {**table.rows, signature: LatencyRow(1234.5, 600.0, 30)}
    write_table(replace(table, rows=rows), tables)
    for name in ("toy", tables / "toy.csv"):
        lines = evounet("tables", "show", name).out.splitlines()
        assert any(line.split() == ["chip", "T1"] for line in lines)
        assert sum(" @ " in line for line in lines) == len(table.rows)
        (noisy,) = [line for line in lines if "noisy" in line]
        assert str(signature) in noisy
        assert "1234.5000" in noisy


def test_validating(evounet: Evounet, table: LatencyTable, tmp_path: Path) -> None:
    path = write_table(table, tmp_path)
    answer = evounet("tables", "validate", path)
    assert answer.out == f"{path}: valid, {len(table.rows)} rows, 0 of them noisy\n"
    csv = path.with_suffix(".csv")
    csv.write_text(csv.read_text().replace(",1.0,0.01", ",fast,0.01"))
    message = evounet.refused("tables", "validate", path)
    assert f"{csv}, line " in message
    assert "column 'median_ms': 'fast' is no number of ms; write one" in message


def test_adding_copies_both_files_as_they_are(
    evounet: Evounet, table: LatencyTable, tables: Path, tmp_path: Path
) -> None:
    path = write_table(table, tmp_path / "downloads")
    path.write_text(f"# from a friend\n{path.read_text()}")
    assert evounet("tables", "add", path).out == f"added: {tables / 'toy.toml'}\n"
    for name in ("toy.toml", "toy.csv"):
        assert (tables / name).read_bytes() == (path.parent / name).read_bytes()
    assert "T1" in evounet("tables", "show", "toy").out


def test_adding_replaces_only_if_told_to(
    evounet: Evounet, table: LatencyTable, tables: Path, tmp_path: Path
) -> None:
    old = write_table(table, tables).read_bytes()
    newer = replace(table, metadata=table.metadata.model_copy(update={"chip": "T2"}))
    path = write_table(newer, tmp_path)
    message = evounet.refused("tables", "add", path)
    assert f"{tables / 'toy.toml'}: already there; --overwrite replaces it" in message
    assert (tables / "toy.toml").read_bytes() == old
    assert evounet("tables", "add", path, "--overwrite").code == 0
    assert load_table("toy") == newer


def test_a_broken_table_is_not_added(
    evounet: Evounet, table: LatencyTable, tables: Path, tmp_path: Path
) -> None:
    path = write_table(table, tmp_path)
    path.write_text("name = 1")
    assert "toy.toml, " in evounet.refused("tables", "add", path)
    assert list(tables.iterdir()) == []


def test_adding_says_what_it_hides(
    evounet: Evounet, table: LatencyTable, tables: Path, tmp_path: Path
) -> None:
    shipped = write_table(table, registry.SHIPPED)
    path = write_table(table, tmp_path)
    expected = f"added: {tables / 'toy.toml'}, in the place of the one from {shipped}\n"
    assert evounet("tables", "add", path).out == expected


def test_comparing(evounet: Evounet, table: LatencyTable, tables: Path) -> None:
    signatures = list(table.rows)
    rows = {each: replace(row, median_ms=2 * row.median_ms) for each, row in table.rows.items()}
    del rows[signatures[0]]
    other = renamed(table, "other")
    other = replace(other, metadata=other.metadata.model_copy(update={"precision": "bf16"}))
    for each in (table, replace(other, rows=rows)):
        write_table(each, tables)
    answer = evounet("tables", "diff", "toy", "other")
    assert answer.code == 0
    assert "they differ in precision ('fp32' and 'bf16')" in answer.out
    assert f"{len(rows)} common rows, median ratio 2.000" in answer.out
    assert f"only in toy: {signatures[0].description}\n" in answer.out
    total = sum(table.rows[each].median_ms for each in rows)
    (line,) = [line for line in answer.out.splitlines() if line.startswith(" sum")]
    assert line.split() == ["sum", f"{total:.4f}", f"{2 * total:.4f}", "2.000"]
    same = evounet("tables", "diff", "toy", "toy").out
    assert "median ratio 1.000" in same
    assert "only in" not in same


def test_coverage_names_rows_parts_and_the_command(
    evounet: Evounet, unet: str, table: LatencyTable, tables: Path
) -> None:
    ask = ("tables", "coverage", unet, "--table", "toy")
    write_table(table, tables)
    answer = evounet(*ask)
    assert (answer.code, answer.out.count("\n")) == (0, 1)
    assert f"has all {len(table.rows)} rows" in answer.out
    shortcut = next(each for each in table.rows if each.kind == "shortcut")
    rows = {each: row for each, row in table.rows.items() if each != shortcut}
    write_table(replace(table, rows=rows), tables)
    answer = evounet(*ask)
    assert answer.code == 1
    (line,) = [line for line in answer.out.splitlines() if str(shortcut) in line]
    assert "resnet down.1/0" in line
    assert f"lacks 1 of {len(table.rows)} rows" in answer.out
    assert answer.out.endswith(f"with: evounet profile {unet} --table toy\n")


def outside(tmp_path: Path, *arguments: object, **environment: str) -> str:
    """What ``evounet`` answers in a new process, in a folder outside of the repository."""
    answer = subprocess.run(
        [sys.executable, "-m", "experiments.cli", *map(str, arguments)],
        cwd=tmp_path,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return answer.stdout


def test_plug_in_by_a_path_in_the_experiment_file(table: LatencyTable, tmp_path: Path) -> None:
    path = write_table(table, tmp_path / "phone")
    file = tmp_path / "mine.toml"
    file.write_text(
        f"name = 'mine'\n[latency]\ntables = ['{path}', '{path.with_suffix('')}']\n"
        "target_ratio = 0.5\n"
    )
    named = load_experiment(file).latency.tables
    assert [load_table(name) for name in named] == [table, table]


def test_plug_in_by_a_folder(table: LatencyTable, tmp_path: Path) -> None:
    write_table(table, tmp_path / "phones")
    assert "ToyOS 1" in outside(tmp_path, "tables", "show", "toy", EVOUNET_TABLES="phones")


def test_plug_in_by_an_installed_package(table: LatencyTable, tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    write_table(table, site / "phone_tables")
    (site / "phone_tables" / "__init__.py").write_text(
        "from pathlib import Path\n\ntoy = Path(__file__).with_name('toy.toml')\n"
    )
    info = site / "phone_tables-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: phone-tables\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[evounet.latency_tables]\ntoy = phone_tables:toy\n")
    assert "ToyOS 1" in outside(tmp_path, "tables", "show", "toy", PYTHONPATH=str(site))
    assert "phone_tables:toy" in outside(tmp_path, "tables", "list", PYTHONPATH=str(site))
    assert read_table(site / "phone_tables" / "toy") == table
