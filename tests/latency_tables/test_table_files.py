"""Tables on disk: nothing is lost, nothing half written, every fault told in one line."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_table import ABSENT, RESNET, make_metadata, make_table

from latency_tables import (
    KINDS,
    BlockSignature,
    LatencyRow,
    LatencyTable,
    TableError,
    add_table,
    read_table,
    write_table,
)

sizes = st.integers(0, 2**40)
signatures = st.builds(
    BlockSignature,
    kind=st.sampled_from(KINDS),
    batch=sizes.map(lambda size: size + 1),
    height=sizes,
    width=sizes,
    in_channels=sizes.map(lambda size: size + 1),
    out_channels=sizes,
    temb_channels=sizes,
    heads=sizes,
    transformer_layers=sizes,
    context_length=sizes,
    context_width=sizes,
    linear_projection=st.integers(0, 1),
    norm_groups=sizes,
)
milliseconds = st.floats(0, exclude_min=True, allow_infinity=False)
table_rows = st.builds(LatencyRow, milliseconds, st.just(0.0) | milliseconds, sizes)


@given(st.dictionaries(signatures, table_rows, min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_round_trip(rows: dict[BlockSignature, LatencyRow]) -> None:
    table = LatencyTable(make_metadata(threads=4, source="a paper"), rows)
    with TemporaryDirectory() as folder:
        assert read_table(write_table(table, folder)) == table


@pytest.mark.parametrize("form", ["toy.toml", "toy.csv", "toy"])
def test_either_file_or_the_stem_leads_to_the_table(
    table: LatencyTable, saved: Path, form: str
) -> None:
    assert read_table(saved.with_name(form)) == table


def test_a_name_may_contain_dots(tmp_path: Path) -> None:
    table = make_table(name="toy-torch-2.14")
    write_table(table, tmp_path)
    assert read_table(tmp_path / "toy-torch-2.14") == table


def test_blank_lines_are_skipped(table: LatencyTable, saved: Path) -> None:
    csv = saved.with_suffix(".csv")
    header, *lines = csv.read_text().splitlines()
    csv.write_text("\n".join([header, "", *lines, "", ""]))
    assert read_table(saved) == table


def test_loading_is_fast(tmp_path: Path) -> None:
    """In CPU time: what else the machine does must not count."""
    rows = {replace(RESNET, height=i): LatencyRow(1.0, 0.1, 30) for i in range(300)}
    path = write_table(LatencyTable(make_metadata(), rows), tmp_path)
    times_s = []
    for _ in range(5):
        start = time.process_time()
        read_table(path)
        times_s.append(time.process_time() - start)
    assert min(times_s) < 0.050


@pytest.mark.parametrize("failing", ["write", "replace"])
def test_a_failure_while_saving_leaves_the_old_table(
    table: LatencyTable, saved: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    before = {path.name: path.read_text() for path in saved.parent.iterdir()}
    write_bytes = Path.write_bytes

    def disk_full(path: Path, content: bytes) -> int:
        write_bytes(path, content[: len(content) // 2])
        raise OSError("disk full")

    def fail(*_: object) -> None:
        raise OSError("read-only")

    if failing == "write":
        monkeypatch.setattr(Path, "write_bytes", disk_full)
    else:
        monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match=r"disk full|read-only"):
        write_table(replace(table, rows={ABSENT: LatencyRow(9.0, 0.0, 1)}), saved.parent)
    assert {path.name: path.read_text() for path in saved.parent.iterdir()} == before


def test_adding_copies_both_files_byte_by_byte(saved: Path, tmp_path: Path) -> None:
    saved.write_text(f"# from a friend\n{saved.read_text()}")
    added = add_table(saved.with_suffix(".csv"), tmp_path / "new" / "folder")
    assert added == tmp_path / "new" / "folder" / "toy.toml"
    for suffix in (".toml", ".csv"):
        assert added.with_suffix(suffix).read_bytes() == saved.with_suffix(suffix).read_bytes()
    assert len(list(added.parent.iterdir())) == 2


@pytest.mark.parametrize("present", [".toml", ".csv"])
def test_adding_overwrites_only_if_told_to(saved: Path, tmp_path: Path, present: str) -> None:
    there = tmp_path / "folder" / f"toy{present}"
    there.parent.mkdir()
    there.write_text("precious")
    with pytest.raises(TableError, match=rf"toy\{present}: already there; --overwrite replaces it"):
        add_table(saved, there.parent)
    assert [path.read_text() for path in there.parent.iterdir()] == ["precious"]
    assert read_table(add_table(saved, there.parent, overwrite=True)) == read_table(saved)


def test_a_broken_table_is_not_added(saved: Path, tmp_path: Path) -> None:
    saved.write_text("")
    with pytest.raises(TableError, match=r"toy\.toml: the file is empty"):
        add_table(saved, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def edit(suffix: str, old: str, new: str) -> Callable[[Path], None]:
    """A fault: the first ``old`` in one of the files becomes ``new``."""

    def fault(path: Path) -> None:
        text = path.with_suffix(suffix).read_text()
        assert old in text
        path.with_suffix(suffix).write_text(text.replace(old, new, 1))

    return fault


def content(suffix: str, new: bytes) -> Callable[[Path], None]:
    return lambda path: void(path.with_suffix(suffix).write_bytes(new))


def absence(suffix: str) -> Callable[[Path], None]:
    return lambda path: path.with_suffix(suffix).unlink()


def void(_: object) -> None:
    """For lambdas around calls that return something."""


def repeat_last_line(path: Path) -> None:
    csv = path.with_suffix(".csv")
    csv.write_text(csv.read_text() + csv.read_text().splitlines()[-1] + "\n")


def header_only(path: Path) -> None:
    csv = path.with_suffix(".csv")
    csv.write_text(csv.read_text().splitlines()[0] + "\n")


FAULTS = {
    "missing column": (
        edit(".csv", "norm_groups", "groups"),
        ["toy.csv, line 1: missing column 'norm_groups', add it; unknown column 'groups', remove"],
    ),
    "repeated column": (
        edit(".csv", "heads,transformer_layers", "heads,heads"),
        ["toy.csv, line 1", "column 'heads' occurs twice, remove one"],
    ),
    "not a number": (
        edit(".csv", "1.25", "fast"),
        ["toy.csv, line 2, column 'median_ms': 'fast' is no number of ms; write one"],
    ),
    "not a whole number": (
        edit(".csv", "resnet,2,", "resnet,two,"),
        ["toy.csv, line 2, column 'batch': 'two' is no whole number; write one"],
    ),
    "negative ms": (
        edit(".csv", "1.25", "-1.25"),
        ["toy.csv, line 2, median_ms is -1.25; it must be a number of ms above 0"],
    ),
    "zero ms": (edit(".csv", "0.0625", "0"), ["toy.csv, line 3, median_ms is 0.0; it must"]),
    "NaN ms": (edit(".csv", "1.25", "nan"), ["toy.csv, line 2, median_ms is nan; it must"]),
    "infinite ms": (edit(".csv", "1.25", "inf"), ["toy.csv, line 2, median_ms is inf; it must"]),
    "negative spread": (edit(".csv", ",0.1,", ",-1,"), ["line 2, spread_ms is -1.0; it must"]),
    "negative repetitions": (
        edit(".csv", "0.1,30", "0.1,-30"),
        ["toy.csv, line 2, repetitions is -30; it must be 0 or more"],
    ),
    "negative size": (
        edit(".csv", "resnet,2,8", "resnet,2,-8"),
        ["toy.csv, line 2, height is -8; it must be 0 or more"],
    ),
    "unknown kind": (
        edit(".csv", "skip_concat", "concat"),
        ["toy.csv, line 3, kind 'concat' is unknown; use one of resnet, "],
    ),
    "repeated signature": (
        repeat_last_line,
        ["toy.csv, line 4: skip_concat 64->128 @ 8x8 b2 has a row already; remove one of the two"],
    ),
    "too few cells": (
        edit(".csv", "0.1,30\n", "0.1\n"),
        ["toy.csv, line 2, column 'repetitions': '' is no whole number; write one"],
    ),
    "too many cells": (
        edit(".csv", "0.1,30\n", "0.1,30,7\n"),
        ["toy.csv: not a CSV file", "line 2", "; correct it"],
    ),
    "no rows": (header_only, ["toy.csv, line 2: there is no row below the header; measure some"]),
    "empty CSV": (content(".csv", b""), ["toy.csv, line 1: the file is empty; measure the table"]),
    "binary CSV": (content(".csv", b"\x89PNG\r\n\x1a\n\x00\xff"), ["toy.csv: not a CSV file", ";"]),
    "no CSV": (absence(".csv"), ["toy.csv: missing beside toy.toml; a table is these two files"]),
    "no TOML": (absence(".toml"), ["toy.toml: missing beside toy.csv; a table is these two files"]),
    "empty TOML": (content(".toml", b""), ["toy.toml: the file is empty; write"]),
    "binary TOML": (content(".toml", b"\x89PNG\xff"), ["toy.toml: not a TOML file", "; write it"]),
    "broken TOML": (
        edit(".toml", 'chip = "T1"', "chip = T1"),
        ["toy.toml: not a TOML file", "line 4", "; write it again"],
    ),
    "missing field": (
        edit(".toml", 'chip = "T1"\n', ""),
        ["toy.toml, field 'chip': missing, add it"],
    ),
    "unknown field": (
        edit(".toml", "attention", "attentoin"),
        ["toy.toml, line 9, field 'attentoin': unknown, remove it or correct its spelling"],
    ),
    "unknown format": (
        edit(".toml", "format_version = 1", "format_version = 2"),
        ["toy.toml, line 1, field 'format_version': 2 is unknown, this evounet reads 1: upgrade"],
    ),
    "unknown method": (
        edit(".toml", '"measured"', '"guessed"'),
        ["toy.toml, line 12, field 'method': Input should be 'measured', ", "is 'guessed'"],
    ),
    "not a date": (
        edit(".toml", "2026-11-24", '"yesterday"'),
        ["toy.toml, line 14, field 'measured_at': ", "but is 'yesterday'"],
    ),
    "another name": (
        edit(".toml", '"toy"', '"tyo"'),
        ["toy.toml, field 'name': is 'tyo', unlike the file's; make them the same"],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_told_in_one_line(saved: Path, fault: str) -> None:
    spoil, parts = FAULTS[fault]
    spoil(saved)
    with pytest.raises(TableError) as caught:
        read_table(saved)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    for part in parts:
        assert part in message


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"no such latency table; neither no\.toml nor no\.csv"):
        read_table(tmp_path / "no")


@given(garbage=st.binary(max_size=60), suffix=st.sampled_from([".toml", ".csv"]))
@settings(max_examples=60, deadline=None)
def test_garbage_is_a_table_error_in_one_line(garbage: bytes, suffix: str) -> None:
    with TemporaryDirectory() as folder:
        path = write_table(make_table(), folder)
        path.with_suffix(suffix).write_bytes(garbage)
        with pytest.raises(TableError) as caught:
            read_table(path)
        assert len(str(caught.value).splitlines()) == 1
