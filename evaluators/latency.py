"""Latency of an architecture: by the table (a sum) and by the clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median

import torch
from diffusers import UNet2DConditionModel

from latency_tables import LatencyTable
from supernet.architecture import Architecture, BlockId
from supernet.inventory import Inventory


class TableLatency:
    """Latency of any architecture of one base UNet by one table, in ms.

    Blocks are looked up once, so that the sum over an architecture costs microseconds.

    Raises:
        MissingRowsError: on creation, naming every signature that the table lacks.
    """

    def __init__(self, inventory: Inventory, table: LatencyTable) -> None:
        missing = table.missing(inventory.all_signatures())
        if missing:
            table.latency_ms(missing)  # raises, and names them all with the command to run
        self.table = table
        self.inventory = inventory
        self._fixed_ms = table.latency_ms(part.signature for part in inventory.fixed)
        self._block_ms = {
            block.id: (
                table.latency_ms([block.remainder.signature]) if block.remainder else 0.0,
                table.latency_ms([block.part.signature]),
            )
            for block in inventory.blocks
        }

    def __call__(self, architecture: Architecture) -> float:
        """Milliseconds of one UNet forward pass under ``architecture``."""
        return self._fixed_ms + sum(
            present * count if count else absent
            for block, count in architecture.blocks
            for absent, present in [self._block_ms[block]]
        )

    def saved_by_removing(self, block: BlockId) -> float:
        """Milliseconds that removing one block saves (its shortcut, if any, stays)."""
        absent, present = self._block_ms[block]
        return present - absent


def measure_latency(
    unets: Sequence[UNet2DConditionModel],
    *,
    context_length: int,
    batch: int = 2,
    repetitions: int = 30,
    threads: int | None = None,
) -> list[float]:
    """Measured latency of whole UNets, side by side, in ms.

    The UNets take turns, so that a drift of the machine's speed meets all of them alike.

    Args:
        unets: to be compared; with whatever architecture they run at the moment.
        context_length: tokens of ``encoder_hidden_states``.
        batch: pictures per pass; 2 is one picture under guidance.
        repetitions: timed passes of each, after two for warm-up.
        threads: CPU threads; torch's own number by default.

    Returns:
        The median of each.
    """
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        passes = [_forward_pass(unet, context_length, batch) for unet in unets]
        for run in passes * 2:
            run()
        times = [[_seconds(run) for run in passes] for _ in range(repetitions)]
    finally:
        torch.set_num_threads(before)
    return [1000 * median(column) for column in zip(*times, strict=True)]


def _forward_pass(
    unet: UNet2DConditionModel, context_length: int, batch: int
) -> Callable[[], object]:
    config = unet.config
    size = config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    sample = torch.randn(batch, config.in_channels, height, width, dtype=unet.dtype)
    context = torch.randn(batch, context_length, config.cross_attention_dim, dtype=unet.dtype)
    timestep = torch.tensor(500)

    @torch.inference_mode()
    def run() -> object:
        return unet(sample, timestep, context)

    return run


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
