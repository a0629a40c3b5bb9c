from __future__ import annotations

from pathlib import Path

import pytest
from in_process import SMALL, Evounet, write_json

from latency_tables import registry


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of tables; no other table is known."""
    folder, shipped = tmp_path / "tables", tmp_path / "shipped"
    for each in (folder, shipped):
        each.mkdir()
    monkeypatch.setenv("EVOUNET_TABLES", str(folder))
    monkeypatch.setattr(registry, "SHIPPED", shipped)
    return folder


@pytest.fixture
def evounet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tables: Path
) -> Evounet:
    return Evounet(monkeypatch, capsys)


@pytest.fixture
def unet(tmp_path: Path) -> str:
    """The path of a small UNet's configuration."""
    return str(write_json(tmp_path / "small" / "config.json", SMALL))
