"""Where the blocks of a UNet stand when it is drawn as a U, and the lines of the U."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

from experiments.report.look import FAINT, INK
from supernet.architecture import BlockId
from supernet.parts import Inventory

CELL_WIDTH = 0.84  # of a place that is 1 wide
ROW_HEIGHT = 1.6  # of a cell that is 1 high; the space between rows holds the stage's name
GAP = 1.0  # places between the two arms

_SIDES = ("down", "mid", "up")


@dataclass(frozen=True)
class Cell:
    """A ResNet or cross-attention block at its place: the centre, x to the right, y upwards."""

    block: BlockId
    x: float
    y: float


@dataclass(frozen=True)
class Row:
    """One stage.

    Attributes:
        stage: its name.
        size: height and width of what it works on.
        depth: 0 at the top.
        cells: its blocks in forward order.
    """

    stage: str
    size: tuple[int, int]
    depth: int
    cells: tuple[Cell, ...]

    @property
    def side(self) -> str:
        return self.stage.partition(".")[0]

    @property
    def y(self) -> float:
        return self.cells[0].y


def u_rows(inventory: Inventory) -> list[Row]:
    """The stages of a UNet: down on the left, up on the right, the middle below both."""
    sites = groupby(inventory.full().sites, lambda site: site.stage)
    stages = [(name, list(blocks)) for name, blocks in sites]
    lengths = {side: [len(b) for name, b in stages if name.startswith(side)] for side in _SIDES}
    width = max(lengths["down"]) + GAP + max(lengths["up"])
    bottom = len(lengths["down"])
    rows = []
    for name, blocks in stages:
        side, _, number = name.partition(".")
        spare = width - len(blocks)
        depth = {"down": int(number or 0), "mid": bottom, "up": bottom - 1 - int(number or 0)}
        start = {"down": 0.0, "mid": spare / 2, "up": spare}
        signature = next(b.part.signature for b in inventory.blocks if b.id.stage == name)
        size = signature.height, signature.width
        y = -ROW_HEIGHT * depth[side]
        cells = tuple(Cell(block, start[side] + i, y) for i, block in enumerate(blocks))
        rows.append(Row(name, size, depth[side], cells))
    return rows


def u_lines(rows: list[Row]) -> list[dict[str, Any]]:
    """The way of the data down, through the middle and up again, and the skip connections."""
    down = [row for row in rows if row.side == "down"]
    up = [row for row in rows if row.side == "up"]
    left, right = down[0].cells[0].x, up[-1].cells[-1].x
    ways = [
        f"M {x},{upper.y - 0.5} L {x},{lower.y + 0.5}"
        for x, arm in ((left, down), (right, up[::-1]))
        for upper, lower in pairwise(arm)
    ]
    ways += _through_the_middle(down[-1], up[0], [row for row in rows if row.side == "mid"])
    skips = [
        f"M {row.cells[-1].x + 0.5},{row.y} L {other.cells[0].x - 0.5},{row.y}"
        for row, other in zip(down, reversed(up), strict=True)
    ]
    solid = [_path(way, FAINT, 4, "solid") for way in ways]
    return [*solid, *(_path(skip, FAINT, 2, "dot") for skip in skips)]


def _through_the_middle(last: Row, first: Row, mid: list[Row]) -> list[str]:
    """From the last down stage to the first up stage; at their own height without a middle."""
    left, right = last.cells[0].x, first.cells[-1].x
    if not mid:
        return [f"M {last.cells[-1].x + 0.5},{last.y} L {first.cells[0].x - 0.5},{first.y}"]
    cells = mid[0].cells
    return [
        f"M {x},{row.y - 0.5} L {x},{cell.y} L {cell.x + side},{cell.y}"
        for x, row, cell, side in ((left, last, cells[0], -0.5), (right, first, cells[-1], 0.5))
    ]


def dashed_outline(cell: Cell) -> dict[str, Any]:
    """The outline of a removed block, named after it; around the colour the cell may have."""
    half, corner = 0.03 + CELL_WIDTH / 2, 0.14
    left, right = cell.x - half, cell.x + half
    low, high = cell.y - 0.54, cell.y + 0.54
    path = (
        f"M {left + corner},{low} L {right - corner},{low} Q {right},{low} {right},{low + corner} "
        f"L {right},{high - corner} Q {right},{high} {right - corner},{high} "
        f"L {left + corner},{high} Q {left},{high} {left},{high - corner} "
        f"L {left},{low + corner} Q {left},{low} {left + corner},{low} Z"
    )
    return _path(path, INK, 1.5, "dash") | {"layer": "above", "name": str(cell.block)}


def stage_label(row: Row) -> dict[str, Any]:
    """The stage's name and size above its outer end."""
    outer, anchor = (row.cells[-1], "right") if row.side == "up" else (row.cells[0], "left")
    inwards = {"down": 0.2, "mid": -0.43, "up": -0.2}[row.side]  # beside the line of the U
    return {
        "text": f"{row.stage} · {row.size[0]}×{row.size[1]}",
        "x": outer.x + inwards,
        "y": row.y + 0.5,
        "xanchor": anchor,
        "yanchor": "bottom",
        "yshift": 2,
        "showarrow": False,
        "font": {"size": 12},
    }


def _path(path: str, color: str, width: float, dash: str) -> dict[str, Any]:
    line = {"color": color, "width": width, "dash": dash}
    return {"type": "path", "path": path, "line": line, "layer": "below"}
