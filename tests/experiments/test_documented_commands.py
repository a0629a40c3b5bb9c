"""Every command in the documents is one that evounet takes; the tutorial's are run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from experiments.cli import app

ROOT = Path(__file__).parents[2]
UsageError = typer.BadParameter.__mro__[1]  # of the click that typer brings
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```(?:sh|console)?\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands_of(page: Path) -> Iterator[list[str]]:
    """The command lines of a page's blocks, without the comments behind them."""
    for block in _BLOCK.findall(page.read_text(encoding="utf-8")):
        for line in block.splitlines():
            if line.startswith("evounet "):
                yield shlex.split(line, comments=True)[1:]


def parse(words: list[str]) -> None:
    """Do all that a call does before anything is done.

    Raises:
        UsageError: if there is no such command, argument or option.
    """
    command = typer.main.get_command(app)
    context = command.make_context("evounet", list(words))
    while isinstance(command, TyperGroup):
        name, command, rest = command.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        context = command.make_context(name, rest, parent=context)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_documented_command_is_one(page: Path) -> None:
    for words in commands_of(page):
        try:
            parse(words)
        except UsageError as error:
            pytest.fail(f"{page.name}: evounet {shlex.join(words)}: {error.format_message()}")


def test_documents_have_commands() -> None:
    assert sum(1 for page in PAGES for _ in commands_of(page)) > 40
    for wrong in (["search", "demo", "--no-such-option"], ["tables", "polish"], ["plan"]):
        with pytest.raises(UsageError):
            parse(wrong)


@pytest.mark.slow
def test_the_tutorial_works_as_it_stands(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "EVOUNET_TABLES": str(tmp_path / "tables"),
    }
    (tmp_path / "tables").mkdir()
    for words in commands_of(ROOT / "docs" / "tutorial.md"):
        command = [sys.executable, "-m", "experiments.cli", *words]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"evounet {shlex.join(words)}: {done.stderr[-2000:]}"
    assert (tmp_path / "runs/tutorial/report.html").exists()
    assert (tmp_path / "tutorial-spec.json").exists()
    assert (tmp_path / "tutorial-pipeline/unet").is_dir()
