"""Where the time goes: latency of base and found UNet by stage and block kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import plotly.graph_objects as go

from evaluators.latency import TableLatency
from experiments.report.look import CLEAR, INK, KIND_COLORS, KIND_NAMES, canvas
from supernet.architecture import SITE_KINDS, Architecture

REST = "rest"


def stage_latency(latency: TableLatency, found: Architecture) -> go.Figure:
    """Two stacked bars for every stage, in ms: the base (pale) above what was found.

    A block counts with what its removal saves. What no removal saves (convolutions in and out,
    samplers, shortcuts, ...) is the last row, so that all bars add up to the UNet's latency.
    """
    base = latency.inventory.full()
    rows = [*dict.fromkeys(block.stage for block in base), REST]
    figure = canvas(80 + 48 * len(rows), barmode="stack", legend={"traceorder": "normal"})
    longest_ms = max(
        _add_bars(figure, "base", latency, base, rows, -0.21),
        _add_bars(figure, "found", latency, found, rows, 0.21),
    )
    figure.update_xaxes(
        title="latency by the table (ms)", range=[0, 1.45 * longest_ms], fixedrange=True
    )
    figure.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=rows,
        range=[len(rows) - 0.4, -0.6],
        showgrid=False,
        ticks="outside",
        tickcolor=CLEAR,
        fixedrange=True,
    )
    return figure


def stage_ms(latency: TableLatency, architecture: Architecture, stage: str, kind: str) -> float:
    """Milliseconds of a stage's blocks of one kind, over what stays when they are removed."""
    without = architecture.without(
        block for block in architecture if (block.stage, block.site.kind) == (stage, kind)
    )
    return latency(architecture) - latency(without)


def _add_bars(
    figure: go.Figure,
    title: str,
    latency: TableLatency,
    architecture: Architecture,
    rows: Sequence[str],
    offset: float,
) -> float:
    """One bar in every row, ``offset`` beside it; the longest of them in ms."""
    places = [i + offset for i in range(len(rows))]
    parts = list(_parts(latency, architecture, rows))
    for name, color, ms in parts:
        figure.add_bar(
            name=name,
            x=ms,
            y=places,
            width=0.38,
            orientation="h",
            marker={"color": color},
            opacity=1 if title == "found" else 0.5,
            showlegend=title == "found",
            customdata=rows,
            hovertemplate=f"%{{customdata}}, {title}<br>{name} %{{x:.2f}} ms<extra></extra>",
        )
    totals = [sum(ms) for ms in zip(*(ms for _, _, ms in parts), strict=True)]
    figure.add_scatter(
        mode="text",
        x=totals,
        y=places,
        text=[f" {title} {total:.2f}" for total in totals],
        textposition="middle right",
        textfont={"size": 12},
        hoverinfo="skip",
        showlegend=False,
    )
    return max(totals)


def _parts(
    latency: TableLatency, architecture: Architecture, rows: Sequence[str]
) -> Iterator[tuple[str, str, list[float]]]:
    """Name, colour and milliseconds in every row, of what a bar is stacked of."""
    for kind in SITE_KINDS:
        ms = [stage_ms(latency, architecture, stage, kind) for stage in rows]
        yield KIND_NAMES[kind], KIND_COLORS[kind], ms
    always = latency(latency.inventory.smallest())
    yield "rest", INK, [always if row == REST else 0.0 for row in rows]
