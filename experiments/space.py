"""What a search may choose from, and what is asked of it: shown before anything is done."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from evaluators.latency import TableLatency
from search.demands import Demands, Measure, counts
from supernet.architecture import Architecture


def space_table(demands: Demands, latencies: Sequence[TableLatency]) -> Table:
    """The largest, a middle and the smallest architecture, with the limits beside them.

    The middle one lacks every second block.
    """
    inventory = demands.latency.inventory
    full = inventory.full()
    middle = full.without(list(full)[::2])
    shown = (full, middle, inventory.smallest())
    table = Table("", "largest", "middle", "smallest", "limit", title="the space of the search")
    limits = {limit.name: f"{limit.at_most:,.2f} {limit.unit}" for limit in demands.limits}
    for latency in latencies:
        name = f"latency on table '{latency.table.metadata.name}'"
        table.add_row(name, *_cells(latency, shown, "ms"), limits.pop(name, ""))
    for count in counts(inventory):
        cells = _cells(count.measure, shown, count.unit)
        table.add_row(count.name, *cells, limits.pop(count.name, ""))
    table.add_row("removable blocks", *(str(_blocks(each)) for each in shown), "")
    return table


def _cells(measure: Measure, shown: Sequence[Architecture], unit: str) -> list[str]:
    return [f"{measure(each):,.2f} {unit}" for each in shown]


def _blocks(architecture: Architecture) -> int:
    return sum(count for _, count in architecture.blocks)
