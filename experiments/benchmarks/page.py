"""Figures of benchmarks as a Markdown page: a section for each, with where it was taken."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date

from experiments.benchmarks.benchmark import BENCHMARKS, Figure, environment, spread_text

_TITLE = "# Benchmarks"
_HEAD = "| figure | value | spread | goal | met | what |\n|---|---|---|---|---|---|"


def updated_page(
    page: str, results: Mapping[str, Sequence[Figure]], quick: bool, sittings: int = 1
) -> str:
    """A page with the sections of some benchmarks anew, and its others as they are.

    Args:
        page: as it was written before; empty for a new one.
        results: figures by benchmark.
        quick: whether they were measured on less.
        sittings: in how many they were.
    """
    sections = {name: f"## {name}\n{text}" for name, text in _sections(page).items()}
    sections |= {
        name: _section(name, figures, quick, sittings) for name, figures in results.items()
    }
    known = [sections[name].strip() for name in BENCHMARKS if name in sections]
    return "\n\n".join([_TITLE, *known]) + "\n"


def _sections(page: str) -> dict[str, str]:
    _, *parts = re.split(r"^## (.+)\n", page, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _section(name: str, figures: Sequence[Figure], quick: bool, sittings: int) -> str:
    """With the machine, the day and the commit that its figures were taken on."""
    where = environment()
    versions = ", ".join(f"{package} {version}" for package, version in where["versions"].items())
    origin = (
        f"`evounet bench {name}{' --quick' if quick else ''}`, {date.today()}, "
        f"{f'in {sittings} sittings, ' if sittings > 1 else ''}"
        f"commit {where['commit']}: {where['chip']}, {where['cores']} cores, "
        f"{where['threads']} threads, Python {where['python']}, {versions}."
    )
    rows = "\n".join(_row(figure) for figure in figures)
    return f"## {name}\n\n{origin}\n\n{_HEAD}\n{rows}"


def _row(figure: Figure) -> str:
    goal, met = str(figure.goal or ""), ""
    if figure.goal is not None:
        met = "yes" if figure.goal.met(figure.value) else "**no**"
    value = f"{figure.value:.5g} | {spread_text(figure)}"
    return f"| `{figure.name}` | {value} | {goal} | {met} | {figure.what} |"
