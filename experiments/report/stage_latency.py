"""Where time and weights go: base and found UNet by stage and block kind (SnapFusion, Sec. 3.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from evaluators.latency import TableLatency
from experiments.report.look import CLEAR, INK, KIND_COLORS, KIND_NAMES, canvas
from supernet.architecture import SITE_KINDS, Architecture
from supernet.parts import Inventory

REST = "rest"


@dataclass(frozen=True)
class Measure:
    """What bars are long by.

    Attributes:
        of: an architecture as a whole.
        axis: title of the axis, with the unit.
        unit: behind a number.
    """

    of: Callable[[Architecture], float]
    axis: str
    unit: str

    def of_blocks(self, architecture: Architecture, stage: str, kind: str) -> float:
        """Of a stage's blocks of one kind, over what stays when they are removed."""
        without = architecture.without(
            block for block in architecture if (block.stage, block.site.kind) == (stage, kind)
        )
        return self.of(architecture) - self.of(without)


def stage_latency(latency: TableLatency, found: Architecture) -> go.Figure:
    """Latency by stage in ms; see :func:`stage_bars`."""
    measure = Measure(latency, "latency by the table (ms)", "ms")
    return stage_bars(latency.inventory, measure, found)


def stage_parameters(inventory: Inventory, found: Architecture) -> go.Figure:
    """Parameters by stage in millions; see :func:`stage_bars`."""
    measure = Measure(lambda each: inventory.parameters(each) / 1e6, "parameters (M)", "M")
    return stage_bars(inventory, measure, found)


def stage_bars(inventory: Inventory, measure: Measure, found: Architecture) -> go.Figure:
    """Two stacked bars for every stage: the base (pale) above what was found.

    A block counts with what its removal saves. What no removal saves (convolutions in and out,
    samplers, shortcuts, ...) is the last row, so that all bars add up to the UNet.
    """
    base = inventory.full()
    rows = [*dict.fromkeys(block.stage for block in base), REST]
    figure = canvas(80 + 48 * len(rows), barmode="stack", legend={"traceorder": "normal"})
    longest = 0.0
    for title, architecture, offset in (("base", base, -0.21), ("found", found, 0.21)):
        parts = list(_parts(inventory, measure, architecture, rows))
        totals = [sum(values) for values in zip(*(values for _, _, values in parts), strict=True)]
        places = [i + offset for i in range(len(rows))]
        _add_bars(figure, title, measure, parts, rows, places)
        _add_totals(figure, title, totals, places)
        longest = max(longest, *totals)
    figure.update_xaxes(title=measure.axis, range=[0, 1.45 * longest], fixedrange=True)
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


_Part = tuple[str, str, list[float]]  # name, colour, and a value in every row


def _parts(
    inventory: Inventory, measure: Measure, architecture: Architecture, rows: Sequence[str]
) -> Iterator[_Part]:
    """What a bar is stacked of."""
    for kind in SITE_KINDS:
        values = [measure.of_blocks(architecture, stage, kind) for stage in rows]
        yield KIND_NAMES[kind], KIND_COLORS[kind], values
    always = measure.of(inventory.smallest())
    yield "rest", INK, [always if row == REST else 0.0 for row in rows]


def _add_bars(
    figure: go.Figure,
    title: str,
    measure: Measure,
    parts: Sequence[_Part],
    rows: Sequence[str],
    places: Sequence[float],
) -> None:
    for name, color, values in parts:
        figure.add_bar(
            name=name,
            x=values,
            y=places,
            width=0.38,
            orientation="h",
            marker={"color": color},
            opacity=1 if title == "found" else 0.5,
            showlegend=title == "found",
            customdata=rows,
            hovertemplate=f"%{{customdata}}, {title}<br>{name} %{{x:.2f}} {measure.unit}"
            "<extra></extra>",
        )


def _add_totals(
    figure: go.Figure, title: str, totals: Sequence[float], places: Sequence[float]
) -> None:
    """The sum of every bar, behind it."""
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
