"""Latency of an architecture by a table: a sum over its parts."""

from __future__ import annotations

from latency_tables import BlockSignature, LatencyTable
from supernet.architecture import Architecture, BlockId
from supernet.inventory import Inventory


class TableLatency:
    """Latency of any architecture of one base UNet by one table, in ms.

    The rows of all parts that run, times the factor that the table was calibrated to for this
    UNet, and the UNet's overhead row; 1 and 0 where the table has none. Blocks are looked up
    once, so that the sum over an architecture costs microseconds.

    Raises:
        MissingRowsError: on creation, naming every signature that the table lacks.
    """

    def __init__(self, inventory: Inventory, table: LatencyTable) -> None:
        missing = table.missing(inventory.all_signatures())
        if missing:
            table.latency_ms(missing)  # raises, and names them all with the command to run
        self.table = table
        self.inventory = inventory
        overhead = inventory.overhead
        self.factor = table.factor(
            inventory.config.digest, overhead.batch, overhead.height, overhead.width
        )
        self.overhead_ms = table.latency_ms([overhead]) if table.covers([overhead]) else 0.0
        self._fixed_ms = sum(self.part_ms(part.signature) for part in inventory.fixed)
        self._block_ms = {
            block.id: (
                self.part_ms(block.remainder.signature) if block.remainder else 0.0,
                self.part_ms(block.part.signature),
            )
            for block in inventory.blocks
        }

    def __call__(self, architecture: Architecture) -> float:
        """Milliseconds of one UNet forward pass under ``architecture``."""
        block_ms = self._block_ms
        total = self.overhead_ms + self._fixed_ms
        for block, count in architecture.blocks:
            absent, present = block_ms[block]
            total += present * count if count else absent
        return total

    def part_ms(self, signature: BlockSignature) -> float:
        """Milliseconds of one part, calibrated."""
        return self.factor * self.table.latency_ms([signature])

    def saved_by_removing(self, block: BlockId) -> float:
        """Milliseconds that removing one block saves (its shortcut, if any, stays)."""
        absent, present = self._block_ms[block]
        return present - absent
