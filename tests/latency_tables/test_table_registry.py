"""Where tables are found, and which of two of one name counts."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import pytest
from toy_table import make_table

from latency_tables import (
    LatencyTable,
    TableError,
    available_tables,
    known_tables,
    load_table,
    user_folders,
    write_table,
)
from latency_tables.registry import ENTRY_POINT_GROUP

# One chip for each place, so that a loaded table tells where it came from.
FIRST, SECOND, PLUGIN, SHIPPED = "first", "second", "plugin", "shipped"


def plug_in(monkeypatch: pytest.MonkeyPatch, value: object, name: str = "toy") -> None:
    """Install a package whose entry point loads to ``value``."""
    module = ModuleType("toy_plugin")
    module.__dict__["table"] = value
    monkeypatch.setitem(sys.modules, "toy_plugin", module)
    declare(monkeypatch, EntryPoint(name, "toy_plugin:table", ENTRY_POINT_GROUP))


def declare(monkeypatch: pytest.MonkeyPatch, entry_point: EntryPoint) -> None:
    monkeypatch.setattr(
        "importlib.metadata.entry_points",
        lambda group: [entry_point] if group == ENTRY_POINT_GROUP else [],
    )


def test_the_first_place_that_knows_a_name_counts(
    bare_registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_table(make_table(chip=SHIPPED), bare_registry)
    assert load_table("toy").metadata.chip == SHIPPED

    plug_in(monkeypatch, make_table(chip=PLUGIN))
    assert load_table("toy").metadata.chip == PLUGIN

    folders = [tmp_path / FIRST, tmp_path / SECOND]
    for folder in folders:
        write_table(make_table(chip=folder.name), folder)
    monkeypatch.setenv("EVOUNET_TABLES", os.pathsep.join(map(str, folders)))
    assert load_table("toy").metadata.chip == FIRST

    monkeypatch.setenv("EVOUNET_TABLES", str(folders[1]))
    assert load_table("toy").metadata.chip == SECOND


@pytest.mark.parametrize("as_path", [False, True])
def test_a_plug_in_is_a_table_or_its_path(
    bare_registry: Path, saved: Path, monkeypatch: pytest.MonkeyPatch, as_path: bool
) -> None:
    table = make_table()
    plug_in(monkeypatch, saved if as_path else table)
    assert load_table("toy") == table


@pytest.mark.parametrize("suffix", [".toml", ".csv", ""])
def test_paths(bare_registry: Path, saved: Path, table: LatencyTable, suffix: str) -> None:
    path = saved.with_suffix(suffix)
    assert load_table(path) == load_table(str(path)) == table


def test_the_working_folder_counts_as_a_path(
    bare_registry: Path, saved: Path, table: LatencyTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(saved.parent)
    assert load_table("toy") == table


def test_an_unknown_name_lists_the_known_ones(bare_registry: Path) -> None:
    with pytest.raises(TableError, match="unknown latency table 'phone'; known: none"):
        load_table("phone")
    for name in ("laptop", "desktop"):
        write_table(make_table(name=name), bare_registry)
    with pytest.raises(TableError, match=r"'phone'; known: desktop, laptop\. Give a path, or add"):
        load_table("phone")


def test_listing_names_every_source_and_loads_nothing(
    bare_registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(monkeypatch, EntryPoint("phone", "no_such_package:table", ENTRY_POINT_GROUP))
    path = write_table(make_table(name="desktop"), bare_registry)
    assert available_tables() == {"desktop": str(path), "phone": "no_such_package:table"}


def test_faulty_plug_ins_are_named(bare_registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(monkeypatch, EntryPoint("phone", "no_such_package:table", ENTRY_POINT_GROUP))
    with pytest.raises(TableError, match=r"'phone = no_such_package:table' of .* cannot be loaded"):
        load_table("phone")
    plug_in(monkeypatch, 5)
    with pytest.raises(TableError, match="is a int; make it a path or a LatencyTable"):
        load_table("toy")


def test_every_known_table_or_its_fault(
    bare_registry: Path, table: LatencyTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_table(table, bare_registry)
    declare(monkeypatch, EntryPoint("phone", "no_such_package:table", ENTRY_POINT_GROUP))
    known = known_tables(unet="sd15")
    assert list(known) == ["phone", "toy"]
    assert isinstance(known["phone"], TableError)
    assert known["toy"] == table


def test_a_loaded_table_knows_the_command_for_its_unet(bare_registry: Path) -> None:
    path = write_table(make_table(), bare_registry)
    for name in ("toy", str(path)):
        remedy = load_table(name, unet="sd15 --batch 1").remedy
        assert remedy == f"measure on a toy with: evounet profile sd15 --batch 1 --table {name}"
    write_table(make_table(runtime="tensorrt"), bare_registry)
    assert load_table("toy", unet="sd15") == make_table(runtime="tensorrt")
    assert load_table("toy", unet="sd15").measure_with is None


def test_a_plug_in_keeps_its_own_command(
    bare_registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plug_in(monkeypatch, replace(make_table(), measure_with="make rows"))
    assert load_table("toy", unet="sd15").measure_with == "make rows"


def test_the_users_folders(
    bare_registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "home" / ".evounet" / "tables"
    assert user_folders() == [own]
    assert available_tables() == {}  # though there is no such folder yet
    write_table(make_table(), own)
    assert load_table("toy") == make_table()
    monkeypatch.setenv("EVOUNET_TABLES", str(bare_registry))
    assert user_folders() == [bare_registry]
    assert available_tables() == {}


def test_a_folder_that_is_none_is_named(
    bare_registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVOUNET_TABLES", "nowhere")
    with pytest.raises(TableError, match="EVOUNET_TABLES names 'nowhere', which is no folder"):
        available_tables()


def test_half_a_table_in_a_folder_is_told(bare_registry: Path) -> None:
    write_table(make_table(), bare_registry).unlink()
    with pytest.raises(TableError, match=r"toy\.toml: missing beside toy\.csv"):
        load_table("toy")


def test_every_shipped_table_loads_and_carries_its_name() -> None:
    for name, where in available_tables().items():
        if Path(where).suffix:
            assert load_table(where).metadata.name == name
