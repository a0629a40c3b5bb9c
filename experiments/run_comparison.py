"""Several runs side by side: their figures in a table, and their ways in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from rich.table import Table

from experiments.report.look import INK, canvas
from experiments.report.tradeoff import Cloud, cloud
from experiments.run_folder import RunFolder, RunFolderError
from latency_tables.parsing import parse_json


@dataclass(frozen=True)
class RunFigures:
    """What a run came to, from its folder alone.

    Attributes:
        name: of the folder.
        strategy: of its experiment, as it is asked for.
        seed: likewise.
        table: of its objective.
        way: latency by that table in ms and CLIP score, before its first decision and after each.
        front: the same of the points of its front, if it left one.
        result: ``result.json`` of a finished run.
        cloud: all that it has evaluated, if that was read.
    """

    name: str
    strategy: str
    seed: int
    table: str
    way: tuple[tuple[float, float], ...]
    front: tuple[tuple[float, float], ...]
    result: dict[str, Any] | None
    cloud: Cloud | None = None


def read_run(path: Path) -> RunFigures:
    """A run, finished or under way.

    Raises:
        RunFolderError: if it is no run folder, has not decided anything yet, or is damaged.
    """
    run = RunFolder(path)
    experiment = run.load_experiment()
    if not run.decisions.exists():
        raise RunFolderError(f"{path}: has not decided anything yet; compare it later")
    try:
        decisions = [parse_json(line) for line in run.decisions.read_text().splitlines()]
        first = decisions[0]
        way = [(first["latency_before_ms"], first["clip_before"])]
        way += [(each["latency_after_ms"], each["clip_after"]) for each in decisions]
        points = parse_json(run.front.read_text())["points"] if run.front.exists() else []
        front = tuple((point["latency_ms"], point["clip"]) for point in points)
        result = parse_json(run.result.read_text()) if run.result.exists() else None
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise RunFolderError(f"{path}: damaged ({error}); leave it out, or run it again") from error
    section = experiment.search
    strategy = f"{section.strategy} (paper)" if section.paper else section.strategy
    table = experiment.latency.tables[0]
    return RunFigures(
        path.resolve().name, strategy, experiment.seed, table, tuple(way), front, result
    )


RUN_COLUMNS = (
    "run",
    "strategy",
    "seed",
    "table",
    "rounds",
    "latency (ms)",
    "CLIP",
    "CLIP at the end",
    "parameters (M)",
    "minutes",
)
_TEXTS = 5  # of these columns


def runs_table(runs: Sequence[RunFigures]) -> Table:
    """A line for each, of :func:`run_row`."""
    table = Table(title="runs")
    for i, column in enumerate(RUN_COLUMNS):
        table.add_column(column, justify="left" if i < _TEXTS else "right")
    for run in runs:
        table.add_row(*run_row(run))
    return table


def run_row(run: RunFigures) -> tuple[str, ...]:
    """What stands in :data:`RUN_COLUMNS`.

    Scores are of the search's prompts, and at the end of the comparison's.
    """
    (start_ms, start_clip), (end_ms, end_clip) = run.way[0], run.way[-1]
    result = run.result or {}
    return (
        run.name,
        run.strategy,
        str(run.seed),
        run.table,
        str(len(run.way) - 1),
        f"{start_ms:.2f} -> {end_ms:.2f}",
        f"{start_clip:.4f} -> {end_clip:.4f}",
        _change(result, "clip", 1, 4),
        _change(result, "parameters", 1e-6, 2),
        f"{result['wall_s'] / 60:.1f}" if "wall_s" in result else "",
    )


def _change(result: dict[str, Any], figure: str, scale: float, digits: int) -> str:
    if f"{figure}_before" not in result:
        return "not ended"
    before, after = (scale * result[f"{figure}_{when}"] for when in ("before", "after"))
    return f"{before:.{digits}f} -> {after:.{digits}f}"


def runs_figure(runs: Sequence[RunFigures]) -> go.Figure:
    """The way of every run, and its front if it left one, in its colour."""
    figure = canvas(560)
    tables = sorted({run.table for run in runs})
    for i, run in enumerate(runs):
        color = _COLORS[i % len(_COLORS)]
        if run.cloud is not None and len(run.cloud.numbers):
            figure.add_trace(_faint(cloud(run.cloud, f"{run.name}: evaluations", color)))
        name = f"{run.name}: {run.strategy}, seed {run.seed}"
        name += f", {run.table}" if len(tables) > 1 else ""
        figure.add_trace(_trace(name, run.way, color, "solid", "circle"))
        if run.front:
            figure.add_trace(_trace(f"{name}, front", run.front, color, "dot", "diamond"))
    figure.update_xaxes(title=f"UNet latency (ms) by {' and '.join(tables)}")
    figure.update_yaxes(title="CLIP score")
    return figure


# Okabe and Ito's, which differ for every kind of sight.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", INK)


def _faint(trace: go.Scatter | go.Scattergl) -> go.Scatter | go.Scattergl:
    """Behind the ways, and not in the legend beside each of them."""
    return trace.update(opacity=0.35, showlegend=False)


def _trace(
    name: str, points: Sequence[tuple[float, float]], color: str, dash: str, symbol: str
) -> go.Scatter:
    return go.Scatter(
        name=name,
        mode="lines+markers",
        x=[ms for ms, _ in points],
        y=[clip for _, clip in points],
        line={"color": color, "dash": dash},
        marker={"color": color, "symbol": symbol, "size": 8},
    )
