"""``evounet profile``: new tables, tables that grow, interruption, and conditions that differ."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from in_process import Evounet, invented_table

from experiments.profiling import find_target
from experiments.unets import choose_unet
from latency_tables import (
    BlockSignature,
    CoreMLProfiler,
    LatencyTable,
    TorchCpuProfiler,
    load_table,
    profiling,
    read_table,
    registry,
    write_table,
)
from latency_tables.profilers import core_ml

QUICK = ("--threads", 1, "--rounds", 2)


@pytest.fixture
def instant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that take next to no time, so that only the book-keeping is tested."""
    monkeypatch.setattr(TorchCpuProfiler, "prepare", lambda *_: _work)


def _work() -> int:
    return sum(range(200))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_new_table_covers_the_unet_and_is_known_by_its_name(
    evounet: Evounet, unet: str, tables: Path
) -> None:
    answer = evounet("profile", unet, "--table", "here", *QUICK)
    assert answer.code == 0, answer.err
    table = load_table("here")
    inventory = choose_unet(unet).inventory
    assert list(table.missing(inventory.all_signatures())) == []
    assert len(table.rows) == len(inventory.all_signatures())
    assert all(row.repetitions == 2 and row.median_ms > 0 for row in table.rows.values())
    assert (table.metadata.precision, table.metadata.threads) == ("fp32", 1)
    full_ms = table.latency_ms(part.signature for part in inventory.parts(inventory.full()))
    assert f"{full_ms:.3f} ms" in answer.out
    assert answer.out.endswith(f"table: {tables / 'here.toml'}\n")


def test_the_recorded_command_measures_the_same_table(
    evounet: Evounet, unet: str, tables: Path, instant: None
) -> None:
    evounet("profile", unet, "--table", "here", "--precision", "bf16", "--batch", 1, *QUICK)
    before = read_table(tables / "here")
    (tables / "here.toml").unlink()
    (tables / "here.csv").unlink()
    program, *arguments = shlex.split(before.metadata.command)
    assert program == "evounet"
    assert evounet(*arguments).code == 0
    after = read_table(tables / "here")
    assert after.metadata == before.metadata
    assert list(after.rows) == list(before.rows)


@pytest.mark.parametrize("by_path", [False, True])
def test_the_command_that_coverage_prints_works_as_printed(
    evounet: Evounet, unet: str, tables: Path, instant: None, by_path: bool
) -> None:
    evounet("profile", unet, "--table", "here", "--precision", "bf16", *QUICK)
    name = tables / "here.csv" if by_path else "here"
    ask = ("tables", "coverage", unet, "--table", name, "--batch", 1)
    answer = evounet(*ask)
    assert answer.code == 1
    line = answer.out.splitlines()[-1]
    _, *arguments = shlex.split(line.partition(" with: ")[2])
    before = read_table(tables / "here")
    assert evounet(*arguments).code == 0
    assert evounet(*ask).code == 0
    after = read_table(tables / "here")
    assert after.rows.items() >= before.rows.items()
    first, second = after.metadata.command.split("; ")
    assert first == before.metadata.command
    assert "--batch 1" in second
    assert after.metadata.precision == "bf16"


def test_only_what_lacks_is_measured_unless_again(
    evounet: Evounet, unet: str, tables: Path, instant: None
) -> None:
    evounet("profile", unet, "--table", "here", *QUICK)
    before = contents(tables)
    answer = evounet("profile", unet, "--table", "here", *QUICK)
    assert "has every row already; --again measures them anew" in answer.out
    assert contents(tables) == before
    more = (*QUICK[:-1], 5)
    assert evounet("profile", unet, "--table", "here", "--again", *more).code == 0
    assert {row.repetitions for row in read_table(tables / "here").rows.values()} == {5}


def test_an_interrupted_measurement_goes_on(
    evounet: Evounet,
    unet: str,
    tables: Path,
    instant: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepared: list[BlockSignature] = []

    def prepare(_: TorchCpuProfiler, signature: BlockSignature) -> Callable[[], int]:
        prepared.append(signature)
        if len(prepared) == 11:  # once, in the second chunk
            raise KeyboardInterrupt
        return _work

    monkeypatch.setattr(profiling, "_CHUNK", 8)
    monkeypatch.setattr(TorchCpuProfiler, "prepare", prepare)
    assert evounet("profile", unet, "--table", "here", *QUICK).code == 130
    half = read_table(tables / "here")
    assert set(half.rows) == set(prepared[:8])
    assert len(contents(tables)) == 2
    assert evounet("profile", unet, "--table", "here", *QUICK).code == 0
    whole = read_table(tables / "here")
    assert not set(prepared[11:]) & set(half.rows)
    assert whole.rows.items() >= half.rows.items()
    assert whole.covers(choose_unet(unet).inventory.all_signatures())


def test_noisy_rows_are_shown(
    evounet: Evounet, unet: str, instant: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiling, "NOISY_SPREAD", -1.0)
    answer = evounet("profile", unet, "--table", "here", *QUICK)
    count = len(load_table("here").rows)
    assert f"{count} of {count} rows are noisy" in answer.out
    assert len(re.findall(r"\d noisy +2 *$", answer.out, re.MULTILINE)) == count


def another_chip(table: LatencyTable) -> LatencyTable:
    return replace(table, metadata=table.metadata.model_copy(update={"chip": "T1"}))


def tensorrt(table: LatencyTable) -> LatencyTable:
    return replace(table, metadata=table.metadata.model_copy(update={"runtime": "tensorrt"}))


def published(table: LatencyTable) -> LatencyTable:
    return replace(table, metadata=table.metadata.model_copy(update={"method": "published"}))


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (another_chip, (), "differ in chip ('T1' and "),
        (replace, ("--precision", "bf16"), "differ in precision ('fp32' and 'bf16')"),
        (replace, ("--threads", "2"), "differ in threads (1 and 2); keep them as two tables"),
        (replace, ("--channels-last",), "differ in memory_format ('contiguous' and 'channels_last"),
        (replace, ("--compile",), "differ in compiled (False and True); keep them as two tables"),
        (tensorrt, (), "cannot add rows to latency table 'here'; measure on "),
        (published, (), "table 'here'; its figures are published: add the rows, or use another"),
    ],
)
def test_other_conditions_are_refused_before_anything_is_measured(
    evounet: Evounet,
    unet: str,
    tables: Path,
    instant: None,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[LatencyTable], LatencyTable],
    options: tuple[str, ...],
    message: str,
) -> None:
    evounet("profile", unet, "--table", "here", *QUICK)
    write_table(change(read_table(tables / "here")), tables)
    before = contents(tables)
    monkeypatch.setattr(TorchCpuProfiler, "prepare", pytest.fail)
    assert message in evounet.refused("profile", unet, "--table", "here", "--batch", 1, *options)
    assert contents(tables) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--table", "no good"), "'no good' is no name for a latency table; use letters"),
        (("--table", "here", "--autocast"), "--autocast does not apply to device cpu; it has"),
        (("--unet", "sd15", "--table", "here"), "give one UNet: as the argument or with --unet"),
        (("--device", "onnxruntime", "--precision", "bf16"), "'bf16' is unknown to the ONNX"),
    ],
)
def test_bad_input_writes_nothing(
    evounet: Evounet, unet: str, tables: Path, arguments: tuple[str, ...], message: str
) -> None:
    assert message in evounet.refused("profile", unet, *arguments)
    assert contents(tables) == {}


def test_a_folder_of_its_own(evounet: Evounet, unet: str, tmp_path: Path, instant: None) -> None:
    out = tmp_path / "elsewhere"
    answer = evounet("profile", unet, "--table", "here", "--out", out, *QUICK)
    assert f"table: {out / 'here.toml'} (name it by its path, or add {out} to" in answer.out
    assert read_table(out / "here").metadata.name == "here"


def test_without_a_folder_tables_are_in_the_home_folder(
    evounet: Evounet, unet: str, tmp_path: Path, instant: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EVOUNET_TABLES")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert evounet("profile", unet, "--table", "here", *QUICK).code == 0
    assert (tmp_path / "home" / ".evounet" / "tables" / "here.toml").exists()
    assert load_table("here").metadata.name == "here"


def test_tables_grow_where_they_lie_but_installed_ones_in_a_copy(
    unet: str, tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = invented_table(unet)
    second = tmp_path / "second"
    write_table(table, second)
    monkeypatch.setenv("EVOUNET_TABLES", f"{tables}:{second}")
    assert find_target("toy") == find_target(str(second / "toy.csv"))
    assert find_target("toy").path == second / "toy.toml"
    write_table(invented_table(unet, "shipped"), registry.SHIPPED)
    target = find_target("shipped")
    assert target.path == tables / "shipped.toml"
    assert target.existing == invented_table(unet, "shipped")
    assert find_target("shipped", second).existing is None
    assert find_target("new").path == tables / "new.toml"


@pytest.mark.parametrize("named", [False, True])
def test_core_ml_packages_are_written_where_there_is_no_mac(
    evounet: Evounet,
    unet: str,
    tables: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    named: bool,
) -> None:
    class Model:
        def save(self, path: str) -> None:
            Path(path).mkdir()

    monkeypatch.setattr(CoreMLProfiler, "can_measure", False)
    monkeypatch.setattr(core_ml, "_convert", lambda *_: Model())
    name = ("--table", "phone") if named else ()
    packages = tmp_path / "packages"
    answer = evounet("profile", unet, "--device", "coreml", "--packages", packages, *name)
    assert answer.code == 0, answer.err
    signatures = choose_unet(unet).inventory.all_signatures()
    assert f"{len(signatures)} packages and their manifest are in {packages}" in answer.out
    assert len(list(packages.glob("*.mlpackage"))) == len(signatures)
    *_, command = answer.out.splitlines()
    table = "--table=phone " if named else ""
    assert command == (
        f"evounet profile {unet} {table}--device=coreml --precision=fp16 "
        f"--compute-unit=cpu_and_ne --packages={packages}"
    )
    assert contents(tables) == {}
