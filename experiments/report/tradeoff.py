"""CLIP score against latency: every architecture that was evaluated, and the way taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from experiments.report.look import (
    FAINT_MARK,
    FRONT,
    GROUP,
    INK,
    KIND_COLORS,
    KIND_NAMES,
    KIND_SYMBOLS,
    TARGET,
    canvas,
    kind_of,
    signed,
    value_text,
)
from search.decision import Candidate, Decision
from search.front import FrontPoint
from supernet.architecture import SITE_KINDS

Scored = tuple[Decision, Candidate]

MANY = 1000  # marks from which on the graphics card draws them


@dataclass(frozen=True)
class Cloud:
    """Architectures that were evaluated, whatever came of it.

    Attributes:
        numbers: by which they are told apart.
        latency_ms: of each.
        clip: mean CLIP score of each.
    """

    numbers: NDArray[np.int32]
    latency_ms: NDArray[np.float64]
    clip: NDArray[np.float64]


def tradeoff(
    decisions: Sequence[Decision],
    target_ms: float | None,
    table: str,
    front: Sequence[FrontPoint] = (),
    others: Cloud | None = None,
    best: Cloud | None = None,
) -> go.Figure:
    """Every candidate of every decision, the path through the decisions, target and front.

    Every mark bears what it stands for as its ``customdata``: ``r2 -resnet mid/0``, ``before r1``,
    ``after r2``, ``point 3`` or a number of ``others``.

    Args:
        decisions: in order.
        target_ms: latency to reach; None where the table is not the one that has to be kept to.
        table: name of the latency table, for the axis.
        front: what the search went on to beyond its target, fastest first.
        others: what else was evaluated.
        best: of all that was evaluated, what nothing else beats in both, fastest first.
    """
    scored = [(decision, c) for decision in decisions for c in decision.candidates]
    figure = canvas(480)
    if others is not None and len(others.numbers):
        figure.add_trace(cloud(others, "other evaluations", FAINT_MARK))
    for kind in (*SITE_KINDS, GROUP):
        of_kind = [(d, c) for d, c in scored if kind_of(c.action) == kind]
        if of_kind or kind != GROUP:
            figure.add_trace(_legend_entry(kind))
            figure.add_trace(_candidates(kind, of_kind))
    if front:
        figure.add_trace(_front(front))
    elif best is not None and len(best.numbers):
        figure.add_trace(_best(best))
    if decisions:
        figure.add_trace(_rings([(d, c) for d, c in scored if c.action in d.taken]))
        figure.add_trace(_trainings(decisions))
        figure.add_trace(_steps(decisions))
        figure.add_trace(_round_names(decisions))
        figure.add_trace(_ends(decisions[0], decisions[-1]))
    if target_ms is not None:
        mark_target(figure, target_ms)
    figure.update_xaxes(title=f"UNet latency (ms)<br><sup>table {escape(table)}</sup>")
    figure.update_yaxes(title="CLIP score")
    return figure


def mark_target(figure: go.Figure, target_ms: float) -> None:
    """A dashed line at the latency to reach."""
    figure.add_vline(
        x=target_ms,
        line={"color": TARGET, "width": 2, "dash": "dash"},
        annotation={
            "text": f"target {target_ms:.2f} ms",
            "yref": "paper",
            "y": 0,
            "yanchor": "bottom",
        },
    )


def cloud(points: Cloud, name: str, color: str) -> go.Scatter | go.Scattergl:
    """A small mark for every architecture, in one colour."""
    kind = go.Scattergl if len(points.numbers) > MANY else go.Scatter
    return kind(
        name=name,
        mode="markers",
        x=points.latency_ms,
        y=points.clip,
        marker={"color": color, "size": 5},
        customdata=points.numbers,
        hovertemplate="evaluation %{customdata}<br>CLIP %{y:.4f} at %{x:.2f} ms<extra></extra>",
    )


def _legend_entry(kind: str) -> go.Scatter:
    """A trace that is only there for its name, as the marks of one kind are open or filled."""
    marker = {"color": KIND_COLORS[kind], "size": 8, "symbol": KIND_SYMBOLS[kind]}
    return go.Scatter(name=KIND_NAMES[kind], mode="markers", x=[None], y=[None], marker=marker)


def _candidates(kind: str, scored: Sequence[Scored]) -> go.Scatter:
    filled = KIND_SYMBOLS[kind]
    return go.Scatter(
        name=f"{KIND_NAMES[kind]} candidates",
        showlegend=False,
        mode="markers",
        x=[d.latency_before_ms + c.delta_latency_ms for d, c in scored],
        y=[c.clip for _, c in scored],
        marker={
            "color": KIND_COLORS[kind],
            "size": 8,
            "line": {"width": 1.8, "color": KIND_COLORS[kind]},
            "symbol": [filled if c.distinguishable else f"{filled}-open" for _, c in scored],
        },
        customdata=[f"r{decision.round} {candidate.action}" for decision, candidate in scored],
        hovertext=[_describe(decision, candidate) for decision, candidate in scored],
        hoverinfo="text",
    )


def _describe(decision: Decision, candidate: Candidate) -> str:
    taken = "executed" if candidate.action in decision.taken else "not executed"
    doubt = "" if candidate.distinguishable else ", not distinguishable from zero"
    second = "" if candidate.second is None else f"second judge {candidate.second}<br>"
    return (
        f"<b>{candidate.action}</b><br>round {decision.round}, {taken}<br>"
        f"ΔCLIP {signed(candidate.delta_clip, 4)} ± {candidate.margin:.4f}{doubt} "
        f"({candidate.prompts} prompts)<br>{second}"
        f"ΔLatency {signed(candidate.delta_latency_ms, 2)} ms<br>"
        f"value {value_text(candidate.value)} CLIP per ms"
    )


def _front(points: Sequence[FrontPoint]) -> go.Scatter:
    """What is as fast scores no higher: a staircase, as between two points there is nothing."""
    return go.Scatter(
        name="front",
        mode="lines+markers",
        x=[point.latency_ms for point in points],
        y=[point.clip for point in points],
        line={"color": FRONT, "width": 2, "shape": "hv"},
        marker={"color": FRONT, "size": 8, "symbol": "triangle-up"},
        customdata=[f"point {number}" for number in range(1, len(points) + 1)],
        hovertext=[
            f"<b>point {number} of the front</b><br>CLIP {point.clip:.4f} at "
            f"{point.latency_ms:.2f} ms<br>evounet export RUN --point {number}"
            for number, point in enumerate(points, start=1)
        ],
        hoverinfo="text",
    )


def _best(points: Cloud) -> go.Scatter:
    """A staircase like the front's; scores are of the weights of different rounds."""
    return go.Scatter(
        name="best so far",
        mode="lines",
        x=points.latency_ms,
        y=points.clip,
        line={"color": FRONT, "width": 2, "shape": "hv"},
        hoverinfo="skip",
    )


def _rings(scored: Sequence[Scored]) -> go.Scatter:
    return go.Scatter(
        name="executed",
        mode="markers",
        x=[d.latency_before_ms + c.delta_latency_ms for d, c in scored],
        y=[c.clip for _, c in scored],
        marker={"color": INK, "size": 15, "symbol": "circle-open", "line": {"width": 1.5}},
        hoverinfo="skip",
    )


def _steps(decisions: Sequence[Decision]) -> go.Scatter:
    """From before to after each decision, with one set of weights."""
    return go.Scatter(
        name="decision",
        mode="lines+markers",
        x=[x for d in decisions for x in (d.latency_before_ms, d.latency_after_ms, None)],
        y=[y for d in decisions for y in (d.clip_before, d.clip_after, None)],
        line={"color": INK, "width": 2.5},
        marker={
            "color": INK,
            "line": {"width": 0},
            "size": [size for _ in decisions for size in (6, 16, 0)],
            "symbol": [symbol for _ in decisions for symbol in ("circle", "arrow", "circle")],
            "angleref": "previous",
        },
        customdata=[
            name for d in decisions for name in (f"before r{d.round}", f"after r{d.round}", "")
        ],
        hovertext=[text for d in decisions for text in _step_texts(d)],
        hoverinfo="text",
    )


def _step_texts(decision: Decision) -> tuple[str, str, str]:
    before = f"CLIP {decision.clip_before:.4f} at {decision.latency_before_ms:.2f} ms"
    after = f"CLIP {decision.clip_after:.4f} at {decision.latency_after_ms:.2f} ms"
    return (
        f"<b>before round {decision.round}</b><br>{before}",
        f"<b>after round {decision.round}</b>, actions: {len(decision.taken)}<br>{after}",
        "",
    )


def _round_names(decisions: Sequence[Decision]) -> go.Scatter:
    """Beside the middle of every step; steps that remove run level, steps that add are steep."""
    return go.Scatter(
        mode="text",
        x=[(d.latency_before_ms + d.latency_after_ms) / 2 for d in decisions],
        y=[(d.clip_before + d.clip_after) / 2 for d in decisions],
        text=[f"<b>r{d.round}</b> " for d in decisions],
        textposition=["middle left" if d.phase == "add" else "top center" for d in decisions],
        hoverinfo="skip",
        showlegend=False,
    )


def _trainings(decisions: Sequence[Decision]) -> go.Scatter:
    """From after one decision to before the next: the same blocks, other weights."""
    pairs = list(pairwise(decisions))
    return go.Scatter(
        name="training between rounds",
        mode="lines",
        x=[x for a, b in pairs for x in (a.latency_after_ms, b.latency_before_ms, None)],
        y=[y for a, b in pairs for y in (a.clip_after, b.clip_before, None)],
        line={"color": INK, "width": 2, "dash": "dot"},
        hoverinfo="skip",
    )


def _ends(first: Decision, last: Decision) -> go.Scatter:
    return go.Scatter(
        mode="markers+text",
        x=[first.latency_before_ms, last.latency_after_ms],
        y=[first.clip_before, last.clip_after],
        text=["<b>base</b>", "<b>found</b>"],
        textposition=["top center", "top center"],
        textfont={"size": 14},
        marker={"color": INK, "size": 14, "symbol": ["diamond", "star"]},
        hoverinfo="skip",
        showlegend=False,
        cliponaxis=False,
    )
