"""What a UNet consists of and what it costs, stage by stage: the paper's model analysis.

A pure value, :class:`Analysis`, and the table and the JSON object made from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.table import Table

from evaluators.latency import TableLatency
from experiments.unets import ChosenUNet
from latency_tables import BlockSignature, LatencyTable
from supernet.architecture import RESNET, SITE_KINDS
from supernet.parts import Inventory, Part

_NAMES = {"resnet": "ResNet", "cross_attention": "cross-attention", "skip_concat": "concatenation"}


@dataclass(frozen=True)
class Cost:
    """What parts of a UNet cost together.

    Attributes:
        parameters: number of weights.
        macs: multiply-accumulates of one forward pass.
        latency_ms: by each of the analysis' tables, in ms of one forward pass.
    """

    parameters: int
    macs: int
    latency_ms: tuple[float, ...]

    @classmethod
    def of(cls, parts: Sequence[Part], latencies: Iterable[TableLatency]) -> Cost:
        return cls(
            sum(part.parameters for part in parts),
            sum(part.macs for part in parts),
            tuple(sum(each.part_ms(part.signature) for part in parts) for each in latencies),
        )


@dataclass(frozen=True)
class PartsRow:
    """The parts of one kind: removable blocks of one stage, or fixed parts of all stages.

    Attributes:
        stage: ``down.0`` ... ``mid`` ... ``up.3``; ``""`` for fixed parts.
        kind: of :data:`latency_tables.KINDS`.
        height: of the stage's feature maps; 0 for fixed parts.
        width: likewise.
        channels: at the end of the stage's last block of this kind; 0 for fixed parts.
        base_count: how many the base UNet has.
        count: how many run, copies included.
        cost: of those, and of the shortcuts that stay of removed ResNets.
    """

    stage: str
    kind: str
    height: int
    width: int
    channels: int
    base_count: int
    count: int
    cost: Cost


@dataclass(frozen=True)
class Coverage:
    """Which rows a table has of those that a search of a UNet can ask for.

    Attributes:
        table: its name.
        signatures: how many there are, shortcuts of removed ResNets included.
        missing: each absent one and the parts of the UNet that need it.
        remedy: how to come by them.
    """

    table: str
    signatures: int
    missing: Mapping[BlockSignature, tuple[str, ...]]
    remedy: str

    @classmethod
    def of(cls, inventory: Inventory, table: LatencyTable) -> Coverage:
        needs = _needs(inventory)
        missing = {signature: needs[signature] for signature in table.missing(needs)}
        return cls(table.metadata.name, len(needs), missing, table.remedy)

    @property
    def summary(self) -> str:
        """One line: how many rows are missing, and the remedy."""
        if not self.missing:
            return f"latency table '{self.table}' has all {self.signatures} rows of this UNet"
        lacking = f"lacks {len(self.missing)} of {self.signatures} rows of this UNet"
        return f"latency table '{self.table}' {lacking}; {self.remedy}"


@dataclass(frozen=True)
class Analysis:
    """A UNet's blocks by stage, its fixed parts, and what they cost.

    Attributes:
        unet: as the user named it.
        batch: pictures per forward pass.
        height: of the latents.
        width: likewise.
        context_length: tokens of a prompt; 0 without cross-attention.
        tables: names of the latency tables that cover the UNet.
        rows: removable blocks by stage and kind in forward order, then fixed parts by kind.
        total: of all rows.
        uncovered: the tables that were asked for and lack rows.
    """

    unet: str
    batch: int
    height: int
    width: int
    context_length: int
    tables: tuple[str, ...]
    rows: tuple[PartsRow, ...]
    total: Cost
    uncovered: tuple[Coverage, ...]

    @property
    def title(self) -> str:
        """What is analysed, in one line."""
        return (
            f"{self.unet}: one UNet pass of batch {self.batch}, "
            f"latents {self.height}x{self.width}, {self.context_length} tokens"
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON object with the attributes' names; latencies are named by table."""
        sizes = ("unet", "batch", "height", "width", "context_length", "tables")
        return {name: getattr(self, name) for name in sizes} | {
            "rows": [asdict(row) | {"cost": self._cost_json(row.cost)} for row in self.rows],
            "total": self._cost_json(self.total),
            "uncovered": [
                {"table": each.table, "missing": len(each.missing), "remedy": each.remedy}
                for each in self.uncovered
            ],
        }

    def _cost_json(self, cost: Cost) -> dict[str, Any]:
        by_table = dict(zip(self.tables, cost.latency_ms, strict=True))
        return asdict(cost) | {"latency_ms": by_table}


def analyse(unet: ChosenUNet, tables: Sequence[LatencyTable]) -> Analysis:
    """Analyse a UNet under its architecture, with latencies by every table that covers it."""
    inventory = unet.inventory
    coverages = [Coverage.of(inventory, table) for table in tables]
    covering = [t for t, coverage in zip(tables, coverages, strict=True) if not coverage.missing]
    base = _by_place(inventory.parts(inventory.full()))
    chosen = _by_place(inventory.parts(unet.architecture))
    places = sorted(base, key=lambda place: not place[0])  # stages first; otherwise as they run
    first = next(part.signature for part in inventory.fixed if part.signature.kind == "conv_in")
    latencies = [TableLatency(inventory, table) for table in covering]
    rows = [_row(place, base[place], chosen.get(place, []), latencies) for place in places]
    overheads = tuple(latency.overhead_ms for latency in latencies)
    if any(overheads):
        rows.append(PartsRow("", "overhead", 0, 0, 0, 1, 1, Cost(0, 0, overheads)))
    return Analysis(
        unet=unet.name,
        batch=first.batch,
        height=first.height,
        width=first.width,
        context_length=inventory.overhead.context_length,
        tables=tuple(table.metadata.name for table in covering),
        rows=tuple(rows),
        total=Cost(
            inventory.parameters(unet.architecture),
            inventory.macs(unet.architecture),
            tuple(latency(unet.architecture) for latency in latencies),
        ),
        uncovered=tuple(coverage for coverage in coverages if coverage.missing),
    )


_Place = tuple[str, str]  # stage ("" for fixed parts) and kind


def _by_place(parts: Iterable[Part]) -> dict[_Place, list[Part]]:
    places: dict[_Place, list[Part]] = {}
    for part in parts:
        # A shortcut is what stays of a removed ResNet, and so belongs to its row.
        kind = RESNET if part.signature.kind == "shortcut" else part.signature.kind
        stage = part.stage if kind in SITE_KINDS else ""
        places.setdefault((stage, kind), []).append(part)
    return places


def _row(
    place: _Place, base: Sequence[Part], chosen: Sequence[Part], latencies: Sequence[TableLatency]
) -> PartsRow:
    stage, kind = place
    first, last = base[0].signature, base[-1].signature
    sizes = (first.height, first.width, last.out_channels) if stage else (0, 0, 0)
    running = sum(part.signature.kind == kind for part in chosen)
    return PartsRow(stage, kind, *sizes, len(base), running, Cost.of(chosen, latencies))


def _needs(inventory: Inventory) -> dict[BlockSignature, tuple[str, ...]]:
    """Every signature that some architecture needs, with the names of the parts that do."""
    needs: dict[BlockSignature, tuple[str, ...]] = {}
    for part in inventory.possible_parts():
        needs[part.signature] = (*needs.get(part.signature, ()), part.name)
    return needs


def analysis_table(analysis: Analysis) -> Table:
    """The analysis for people, with the share of every figure in its total."""
    table = Table("stage", "size", "parts", box=box.SIMPLE, padding=(0, 1, 0, 0))
    giga = analysis.total.macs >= 10e9
    figures = ["parameters", "GMACs" if giga else "MMACs", *(f"{t} ms" for t in analysis.tables)]
    for heading in ("count", *figures):
        table.add_column(heading, justify="right")
    previous = None
    for row in analysis.rows:
        begins = row.stage != previous
        previous = row.stage
        if begins and not row.stage:
            table.add_section()
        table.add_row(
            (row.stage or "fixed") if begins else "",
            f"{row.height}x{row.width}, {row.channels}" if begins and row.stage else "",
            _NAMES.get(row.kind, row.kind.replace("_", " ")),
            str(row.count) if row.count == row.base_count else f"{row.base_count} -> {row.count}",
            *_cells(row.cost, analysis.total, giga),
        )
    table.add_section()
    table.add_row("total", "", "", "", *_cells(analysis.total, analysis.total, giga), style="bold")
    return table


def _cells(cost: Cost, total: Cost, giga: bool) -> list[str]:
    """Parameters, MACs and latencies as text, each with its share in the total."""
    macs = cost.macs / (1e9 if giga else 1e6)
    cells = [
        _with_share(f"{cost.parameters:,}", cost.parameters, total.parameters),
        _with_share(f"{macs:,.2f}", cost.macs, total.macs),
    ]
    for part_ms, total_ms in zip(cost.latency_ms, total.latency_ms, strict=True):
        digits = 2 if total_ms >= 100 else 3
        cells.append(_with_share(f"{part_ms:,.{digits}f}", part_ms, total_ms))
    return cells


def _with_share(text: str, part: float, total: float) -> str:
    return f"{text} {part / total:>6.1%}" if total else text
