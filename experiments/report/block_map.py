"""The UNet as its U: every block a cell, and what became of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from evaluators.latency import TableLatency
from experiments.report.look import (
    CLEAR,
    GROUP,
    INK,
    KIND_COLORS,
    KIND_LETTERS,
    KIND_NAMES,
    canvas,
    kind_of,
    signed,
    value_text,
)
from experiments.report.u_layout import (
    CELL_WIDTH,
    Cell,
    dashed_outline,
    stage_label,
    u_lines,
    u_rows,
)
from search.decision import Candidate, Decision
from supernet.architecture import SITE_KINDS, BlockId
from supernet.parts import Inventory

# What cells may be coloured by, in words for a button.
COLORINGS = {
    "kind": "block kind",
    "clip_given": "CLIP it gives",
    "saved_ms": "latency it takes",
    "value": "value",
}
_UNITS = {"clip_given": "CLIP score", "saved_ms": "ms", "value": "CLIP per ms"}
_CELL_TRACES = list(range(len(SITE_KINDS)))  # the first ones of the figure
NEVER_SCORED = "rgba(125, 133, 144, 0.45)"


@dataclass(frozen=True)
class Fate:
    """What became of a ResNet or a cross-attention block.

    Attributes:
        count: how often it runs in the end; where its transformer layers are removed one by one,
            how many of them do.
        base_count: the same in the base.
        round: of the last decision that changed it; None if none did.
        score: the last candidate that was about it, and its round; None if there was none.
        saved_ms: what the base saves without it.
    """

    count: int
    base_count: int
    round: int | None
    score: tuple[int, Candidate] | None
    saved_ms: float

    @property
    def clip_given(self) -> float:
        """CLIP score the block gives: what its removal loses or its addition gains."""
        if self.score is None:
            return math.nan
        candidate = self.score[1]
        return candidate.delta_clip * candidate.action.change

    @property
    def value(self) -> float:
        """The value of the last action on it, CLIP score per ms."""
        return self.score[1].value if self.score else math.nan


def fates(latency: TableLatency, decisions: Sequence[Decision]) -> dict[BlockId, Fate]:
    """What became of every ResNet and cross-attention block of the base."""
    last = decisions[-1].after if decisions else latency.inventory.full()
    changed = {b.site: d.round for d in decisions for a in d.taken for b in a.members}
    scores = {
        c.action.members[0].site: (d.round, c)
        for d in decisions
        for c in d.candidates
        if kind_of(c.action) != GROUP
    }
    return {
        site: Fate(
            sum(last[block] for block in blocks),
            len(blocks),
            changed.get(site),
            scores.get(site),
            latency.saved_by_removing(*blocks),
        )
        for site, blocks in last.sites.items()
    }


def block_map(
    latency: TableLatency, decisions: Sequence[Decision], coloring: str | None = None
) -> go.Figure:
    """The blocks in their U, coloured by kind, or by the CLIP score, latency or value of each.

    Removed blocks are hollow with a dashed outline, doubled ones are marked ×2, and both bear the
    round of the decision. Every cell's ``customdata`` is its block.

    Args:
        latency: by a table.
        decisions: so far, in order.
        coloring: one of :data:`COLORINGS`; None for buttons that choose.
    """
    fate = fates(latency, decisions)
    rows = u_rows(latency.inventory)
    cells = {
        kind: [c for row in rows for c in row.cells if c.block.kind == kind] for kind in SITE_KINDS
    }
    depth = 1 + max(row.depth for row in rows)
    figure = canvas(130 + 80 * depth, barmode="overlay", margin={"l": 4, "r": 4, "t": 8, "b": 64})
    figure.add_traces([_cells(latency, kind, cells[kind], fate) for kind in SITE_KINDS])
    figure.add_traces([_legend_entry(kind) for kind in SITE_KINDS])
    removed = [c for kind in SITE_KINDS for c in cells[kind] if fate[c.block].count == 0]
    figure.update_layout(
        shapes=[*u_lines(rows), *(dashed_outline(cell) for cell in removed)],
        annotations=[stage_label(row) for row in rows],
        coloraxis={"colorscale": "Cividis", "showscale": False, "colorbar": _colorbar()},
        legend={"y": 0, "yanchor": "top"},
    )
    figure.update_xaxes(visible=False, fixedrange=True)
    figure.update_yaxes(visible=False, fixedrange=True)
    if coloring is not None:
        _apply(figure, *_coloring(coloring, cells, fate))
    elif decisions:
        figure.update_layout(updatemenus=[_buttons(cells, fate)])
    return figure


def _apply(figure: go.Figure, traces: dict[str, Any], layout: dict[str, Any]) -> None:
    """What a button does."""
    for name, value in traces.items():
        for i in _CELL_TRACES:
            figure.data[i][name] = value[i] if isinstance(value, list) else value
    for name, value in layout.items():
        figure.layout[name] = value


def _cells(
    latency: TableLatency, kind: str, cells: Sequence[Cell], fate: dict[BlockId, Fate]
) -> go.Bar:
    return go.Bar(
        x=[cell.x for cell in cells],
        base=[cell.y - 0.5 for cell in cells],
        y=[1.0] * len(cells),
        width=CELL_WIDTH,
        marker={"color": _kind_colors(kind, cells, fate), "cornerradius": 7, "line": {"width": 0}},
        text=[_text(kind, fate[cell.block]) for cell in cells],
        textposition="inside",
        insidetextanchor="middle",
        textangle=0,
        constraintext="none",
        insidetextfont={"size": 13, "color": _text_colors(cells, fate)},
        customdata=[str(cell.block) for cell in cells],
        hovertext=[_describe(latency, cell.block, fate[cell.block]) for cell in cells],
        hoverinfo="text",
        showlegend=False,
    )


def _legend_entry(kind: str) -> go.Bar:
    """A trace that is only there for its name, as the cells of one kind differ in colour."""
    name = f"{KIND_LETTERS[kind]}: {KIND_NAMES[kind]}"
    return go.Bar(name=name, x=[None], y=[None], marker={"color": KIND_COLORS[kind]})


def _text(kind: str, fate: Fate) -> str:
    times = f"×{fate.count}" if fate.count > 1 else ""
    if fate.base_count > 1:
        times = f" {fate.count}/{fate.base_count}"
    when = f"<br>r{fate.round}" if fate.round is not None else ""
    return f"<b>{KIND_LETTERS[kind]}{times}</b>{when}"


def _describe(latency: TableLatency, block: BlockId, fate: Fate) -> str:
    inventory = latency.inventory
    blocks = inventory.full().sites[block]
    signature = inventory.by_id[blocks[0]].part.signature
    parameters = _parameters(inventory, blocks)
    lines = [
        f"<b>{block}</b>",
        f"{signature.in_channels} to {signature.out_channels} channels",
        f"{fate.saved_ms:.2f} ms, {parameters:,} parameters",
    ]
    if fate.round is not None:
        lines.append(f"{_now(fate)} in round {fate.round}")
    if fate.score is None:
        return "<br>".join([*lines, "not scored yet"])
    round_, candidate = fate.score
    return "<br>".join(
        [
            *lines,
            f"{candidate.action} in round {round_}:",
            f"ΔCLIP {signed(candidate.delta_clip, 4)} ± {candidate.margin:.4f}",
            f"value {value_text(candidate.value)} CLIP per ms",
        ]
    )


def _parameters(inventory: Inventory, blocks: Sequence[BlockId]) -> int:
    """That the base loses without the blocks of one place."""
    first = inventory.by_id[blocks[0]]
    if first.id.layer is not None:
        [attention] = [each for each in inventory.attentions if each.layers[0] == first.id]
        return attention.part.parameters
    kept = 0 if first.remainder is None else first.remainder.parameters
    return first.part.parameters - kept


def _now(fate: Fate) -> str:
    if fate.base_count > 1:
        return f"{fate.count} of {fate.base_count} transformer layers, last changed"
    return {0: "removed", 1: "back"}.get(fate.count, "doubled")


def _kind_colors(kind: str, cells: Sequence[Cell], fate: dict[BlockId, Fate]) -> list[str]:
    return [KIND_COLORS[kind] if fate[cell.block].count else CLEAR for cell in cells]


def _text_colors(cells: Sequence[Cell], fate: dict[BlockId, Fate]) -> list[str]:
    return ["#ffffff" if fate[cell.block].count else INK for cell in cells]


def _coloring(
    coloring: str, cells: dict[str, list[Cell]], fate: dict[BlockId, Fate]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What changes in the cells' traces and in the layout to colour by one of the colorings."""
    if coloring != "kind":
        return _by_number(cells, fate, coloring), _scale(_UNITS[coloring])
    by_kind = {
        "marker.color": [_kind_colors(kind, cells[kind], fate) for kind in SITE_KINDS],
        "marker.coloraxis": None,
        "insidetextfont.color": [_text_colors(cells[kind], fate) for kind in SITE_KINDS],
    }
    return by_kind, {"showlegend": True, "coloraxis.showscale": False}


def _buttons(cells: dict[str, list[Cell]], fate: dict[BlockId, Fate]) -> dict[str, Any]:
    """The buttons that choose one of the colorings."""
    return {
        "type": "buttons",
        "direction": "right",
        "x": 0,
        "xanchor": "left",
        "y": 1,
        "yanchor": "bottom",
        "pad": {"b": 14},
        "bgcolor": "#c9ced6",
        "bordercolor": INK,
        "font": {"color": "#1c2127"},  # the active button is near white in any page
        "buttons": [
            {
                "label": label,
                "method": "update",
                "args": [*_coloring(coloring, cells, fate), _CELL_TRACES],
            }
            for coloring, label in COLORINGS.items()
        ],
    }


def _scale(title: str) -> dict[str, Any]:
    """A colour bar where the legend was."""
    return {
        "showlegend": False,
        "coloraxis.showscale": True,
        "coloraxis.colorbar.title.text": title,
    }


def _by_number(
    cells: dict[str, list[Cell]], fate: dict[BlockId, Fate], attribute: str
) -> dict[str, Any]:
    numbers = [
        [getattr(fate[cell.block], attribute) for cell in cells[kind]] for kind in SITE_KINDS
    ]
    finite = [n for row in numbers for n in row if math.isfinite(n)]
    return {
        "marker.color": [[n if math.isfinite(n) else NEVER_SCORED for n in row] for row in numbers],
        "marker.coloraxis": "coloraxis",
        "insidetextfont.color": [[_contrast(n, finite) for n in row] for row in numbers],
    }


def _contrast(number: float, all_numbers: Sequence[float]) -> str:
    """Dark on the upper end of Cividis, which is yellow; light on the rest."""
    if not math.isfinite(number):
        return INK
    least, most = min(all_numbers), max(all_numbers)
    return "#1b2129" if number > least + 0.6 * (most - least) else "#ffffff"


def _colorbar() -> dict[str, Any]:
    return {
        "orientation": "h",
        "thickness": 10,
        "y": 0,
        "yanchor": "top",
        "ypad": 0,
        "nticks": 5,
        "outlinewidth": 0,
        "title": {"side": "top"},
    }
