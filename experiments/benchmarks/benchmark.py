"""What every benchmark gives: figures with their goals, for people and for programs.

A benchmark is a module of this package with a function ``run(quick, console) -> list[Figure]``.
It never asserts and never reads a stored result of its own. Where a picture says more than its
figures, it also has ``picture(figures)``, which draws them with plotly; where it can measure on a
UNet that the user names, ``run_unet(unet, console) -> list[Figure]``; where it takes hours,
``run_in(folder, quick, console) -> list[Figure]``, which keeps in the folder what it has done and
goes on from what is there.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from statistics import quantiles
from types import ModuleType
from typing import Any, Literal

from rich.console import Console
from rich.table import Column, Table

BENCHMARKS = (
    "dashboard",
    "decoder",
    "distill",
    "evaluator",
    "export",
    "paper",
    "racing",
    "robustness",
    "scale",
    "search",
    "strategies",
    "supernet",
    "tables",
    "train",
    "world",
)
_PACKAGES = ("torch", "diffusers", "transformers", "open_clip_torch", "ray")


@dataclass(frozen=True)
class Goal:
    """What a figure should be: ``Goal(">=", 28)``."""

    relation: Literal[">=", "<="]
    bound: float

    def met(self, value: float) -> bool:
        return value >= self.bound if self.relation == ">=" else value <= self.bound

    def __str__(self) -> str:
        return f"{self.relation} {self.bound:g}"


@dataclass(frozen=True)
class Figure:
    """One number of a benchmark.

    Attributes:
        name: flat and lasting, with its unit: ``vae_psnr_db``.
        value: the number itself.
        what: what was compared, on what.
        spread: lower and upper bound of where it lies: quartiles where the number is a median,
            else the confidence interval that ``what`` names.
        goal: what it should be, if anything was promised.
        points: what it was worked out from, columns by name, where a picture shows them.
    """

    name: str
    value: float
    what: str
    spread: tuple[float, float] | None = None
    goal: Goal | None = None
    points: Mapping[str, tuple[float, ...]] | None = None


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """The lower and the upper one, where measured values are all there are."""
    lower, _, upper = quantiles(values, n=4, method="inclusive")
    return lower, upper


def run_benchmark(
    name: str,
    quick: bool,
    console: Console,
    unet: str | None = None,
    work: Path | None = None,
) -> list[Figure]:
    """Run one of :data:`BENCHMARKS`.

    Args:
        name: which.
        quick: whether on less, within a minute.
        console: for progress.
        unet: what :func:`experiments.unets.choose_unet` takes, to measure on that UNet in place
            of the benchmark's own; only where :func:`takes_unet`, and then ``quick`` says nothing.
        work: where to keep what is done, and to go on; only where :func:`keeps_work`.

    Raises:
        ValueError: if there is none of that name, or no such UNet.
    """
    module = _benchmark(name)
    figures: list[Figure]
    if unet is not None:
        figures = module.run_unet(unet, console)
    elif work is not None:
        figures = module.run_in(work, quick, console)
    else:
        figures = module.run(quick, console)
    return figures


def takes_unet(name: str) -> bool:
    """Whether one of :data:`BENCHMARKS` can measure on a UNet that the user names.

    Raises:
        ValueError: if there is none of that name.
    """
    return hasattr(_benchmark(name), "run_unet")


def keeps_work(name: str) -> bool:
    """Whether one of :data:`BENCHMARKS` can keep what it has done, and go on.

    Raises:
        ValueError: if there is none of that name.
    """
    return hasattr(_benchmark(name), "run_in")


def has_picture(name: str) -> bool:
    """Whether one of :data:`BENCHMARKS` draws its figures.

    Raises:
        ValueError: if there is none of that name.
    """
    return hasattr(_benchmark(name), "picture")


def picture_page(name: str, figures: Sequence[Figure]) -> str:
    """A benchmark's picture as an HTML page that loads nothing from elsewhere."""
    page: str = _benchmark(name).picture(figures).to_html(include_plotlyjs=True)
    return page


def _benchmark(name: str) -> ModuleType:
    if name not in BENCHMARKS:
        raise ValueError(f"no benchmark {name!r}; there are: {', '.join(BENCHMARKS)}")
    return import_module(f"experiments.benchmarks.{name}")


def spread_text(figure: Figure) -> str:
    """Both bounds; empty where there are none."""
    return " to ".join(f"{bound:.4g}" for bound in figure.spread or ())


def figures_table(name: str, figures: Sequence[Figure]) -> Table:
    figure_column = Column("figure", no_wrap=True)
    table = Table(figure_column, "value", "spread", "goal", "", "what", title=f"bench {name}")
    for figure in figures:
        goal, verdict = str(figure.goal or ""), ""
        if figure.goal is not None:
            verdict = "met" if figure.goal.met(figure.value) else "NOT MET"
        table.add_row(
            figure.name, f"{figure.value:.5g}", spread_text(figure), goal, verdict, figure.what
        )
    return table


def figures_json(name: str, figures: Sequence[Figure], sittings: int = 1) -> str:
    """One object: ``name``, ``environment``, ``figures``, ``spreads``, ``goals`` and ``points``.

    The environment has ``sittings`` too: 2 or more where it was gone on with after a kill.
    """
    value = {
        "name": name,
        "environment": environment() | {"sittings": sittings},
        "figures": {figure.name: figure.value for figure in figures},
        "spreads": {figure.name: figure.spread for figure in figures if figure.spread},
        "goals": {
            figure.name: {"goal": str(figure.goal), "met": figure.goal.met(figure.value)}
            for figure in figures
            if figure.goal is not None
        },
        "points": {figure.name: figure.points for figure in figures if figure.points},
    }
    return json.dumps(value, indent=2) + "\n"


def environment() -> dict[str, Any]:
    """Processor, versions, threads and commit: what the figures were taken on."""
    import torch

    from latency_tables.profilers.torch_cpu import TorchCpuProfiler

    return {
        "chip": TorchCpuProfiler().describe()["chip"],
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {package: metadata.version(package) for package in _PACKAGES},
        "commit": _commit(),
    }


def _commit() -> str | None:
    """The commit this was run from; None where it is not a checkout."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    try:
        answer = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return answer.stdout.strip() or None
