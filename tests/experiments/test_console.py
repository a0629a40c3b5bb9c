"""Tables are as wide as they want to be in a file, and fit into a terminal."""

from __future__ import annotations

import io

import pytest
from rich.table import Table

from experiments.console import open_console


def printed(**options: object) -> list[str]:
    table = Table("what")
    table.add_row("one long sentence " * 8)
    file = io.StringIO()
    open_console(file=file, **options).print(table)
    return file.getvalue().splitlines()


def test_a_cell_is_one_line_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the columns are of the terminal that the command was typed in."""
    monkeypatch.setenv("COLUMNS", "60")
    assert sum("sentence" in line for line in printed()) == 1


def test_a_terminal_has_its_own_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert max(map(len, printed(force_terminal=True, width=72, color_system=None))) <= 72
