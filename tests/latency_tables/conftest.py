from __future__ import annotations

from pathlib import Path

import pytest
from toy_table import make_table

from latency_tables import LatencyTable, registry, write_table


@pytest.fixture
def table() -> LatencyTable:
    return make_table()


@pytest.fixture
def saved(tmp_path: Path, table: LatencyTable) -> Path:
    """The toy table on disk; the path of its metadata file."""
    return write_table(table, tmp_path)


@pytest.fixture
def bare_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry without folders, plug-ins and shipped tables; the shipped tables' new folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    monkeypatch.setattr(registry, "SHIPPED", shipped)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [])
    monkeypatch.delenv(registry.FOLDERS_VARIABLE, raising=False)
    return shipped
