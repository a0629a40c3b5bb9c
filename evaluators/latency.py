"""Latency of an architecture by a table: a sum over its parts."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from latency_tables import BlockSignature, LatencyTable
from supernet.architecture import MAX_MULTIPLICITY, TRANSFORMER_LAYER, Architecture, BlockId
from supernet.parts import Inventory, LayeredAttention


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
                self.part_ms(block.follower.signature),
            )
            for block in inventory.blocks
            if block.id.kind != TRANSFORMER_LAYER
        }
        self._saved_ms: dict[tuple[BlockId, ...], float] = {}
        self._layer_ms = {
            attention.layers[0].site: self._by_layers(attention)
            for attention in inventory.attentions
        }

    def __call__(self, architecture: Architecture) -> float:
        """Milliseconds of one UNet forward pass under ``architecture``."""
        total = self.overhead_ms + self._fixed_ms
        layers: Counter[BlockId] = Counter()
        for block, count in architecture.blocks:
            if block.kind == TRANSFORMER_LAYER:
                layers[block.site] += count
                continue
            absent, present, follower = self._block_ms[block]
            total += present + follower * (count - 1) if count else absent
        return total + sum(self._layer_ms[site][count] for site, count in layers.items())

    def of_counts(self, counts: NDArray[np.int8]) -> NDArray[np.float64]:
        """Milliseconds of many architectures at once.

        Args:
            counts: how often every block runs, ``(architectures, blocks)``, in forward order.
        """
        total = np.full(len(counts), self.overhead_ms + self._fixed_ms)
        layers: dict[BlockId, NDArray[np.int64]] = {}
        for block, column in zip(self.inventory.by_id, counts.T, strict=True):
            if block.kind == TRANSFORMER_LAYER:
                layers[block.site] = layers.get(block.site, 0) + column.astype(np.int64)
                continue
            absent, present, follower = self._block_ms[block]
            total += np.where(column > 0, present + follower * (column - 1), absent)
        for site, numbers in layers.items():
            total += np.asarray(self._layer_ms[site])[numbers]
        return total

    def part_ms(self, signature: BlockSignature) -> float:
        """Milliseconds of one part, calibrated."""
        return self.factor * self.table.latency_ms([signature])

    def saved_by_removing(self, *blocks: BlockId) -> float:
        """Milliseconds that the base saves without some blocks (their shortcuts, if any, stay)."""
        if blocks not in self._saved_ms:
            full = self.inventory.full()
            self._saved_ms[blocks] = self(full) - self(full.without(blocks))
        return self._saved_ms[blocks]

    def fastest(self) -> Architecture:
        """The architecture that takes the least time; what saves none by its removal stays."""
        full = self.inventory.full()
        slow = [blocks for blocks in full.sites.values() if self.saved_by_removing(*blocks) > 0]
        return full.without(chain.from_iterable(slow))

    def _by_layers(self, attention: LayeredAttention) -> list[float]:
        """Milliseconds of a cross-attention block by how many layers it has left or got."""
        most = MAX_MULTIPLICITY * len(attention.layers)
        parts = [attention.with_layers(count) for count in range(1, most + 1)]
        return [0.0, *(self.part_ms(part.signature) for part in parts)]
