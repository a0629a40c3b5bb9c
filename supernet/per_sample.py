"""A UNet that runs another architecture for every picture of a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from supernet.architecture import Architecture, ArchitectureError, BlockId
from supernet.standalone_unet import skipped
from supernet.supernet import Supernet
from supernet.unet_blocks import block_slot


class PartlySkipped(nn.Module):
    """A block that some pictures of a batch run and the others skip.

    It runs on the rows of those alone, so that its compute falls in proportion.

    Args:
        block: what is run.
        rest: what runs in its place for the others.
        runs: for every picture whether it runs the block.
    """

    def __init__(self, block: nn.Module, rest: nn.Module, runs: Sequence[bool]) -> None:
        super().__init__()
        self.block = block
        self.rest = rest
        self.batch = len(runs)
        self.running = [i for i, own in enumerate(runs) if own]
        self.skipping = [i for i, own in enumerate(runs) if not own]

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        if not self.running or not self.skipping:
            only = self.block if self.running else self.rest
            return only(hidden_states, *args, **kwargs)
        outputs = [
            module(
                *(self._take(each, rows) for each in (hidden_states, *args)),
                **{name: self._take(each, rows) for name, each in kwargs.items()},
            )
            for module, rows in ((self.block, self.running), (self.rest, self.skipping))
        ]
        # A block of attention answers with a tuple of one.
        merged = torch.cat([each[0] if isinstance(each, tuple) else each for each in outputs])
        order = [*self.running, *self.skipping]
        merged = merged[sorted(range(self.batch), key=order.__getitem__)]
        return (merged,) if isinstance(outputs[0], tuple) else merged

    def _take(self, value: Any, rows: list[int]) -> Any:
        """Some rows of whatever has one for every picture; anything else as it is."""
        if isinstance(value, Tensor) and value.ndim and len(value) == self.batch:
            return value[rows]
        return value


@contextmanager
def running_each(
    supernet: Supernet, architectures: Sequence[Architecture]
) -> Iterator[UNet2DConditionModel]:
    """The UNet running ``architectures[i]`` for picture i of a batch; as it was again on leaving.

    Every picture's output and gradients are those of running it alone.

    Args:
        supernet: whose UNet is run.
        architectures: one for each picture; they may differ in which blocks run, not in how
            often one that runs is repeated.

    Raises:
        ArchitectureError: if they do, or are not of the supernet's base.
    """
    largest = _union(architectures)
    mixed = [
        block
        for block in dict.fromkeys((*largest.sites, *largest))
        if _runs(largest, block) and not all(_runs(each, block) for each in architectures)
    ]
    # Lists and blocks are looked up while nothing is replaced: a path to a block may lead
    # through another one.
    slots = {block: block_slot(supernet.unet, block) for block in mixed}
    originals = {block: modules[index] for block, (modules, index) in slots.items()}
    insides = {block: set(list(original.modules())[1:]) for block, original in originals.items()}
    replaced: list[tuple[nn.ModuleList, int, nn.Module]] = []
    with supernet.running(largest) as unet:
        try:
            for block, (modules, index) in slots.items():
                original = originals[block]
                around = [other for other in mixed if original in insides[other]]
                runs = [
                    _runs(architecture, block)
                    for architecture in architectures
                    if all(_runs(architecture, outer) for outer in around)
                ]
                stand_in = PartlySkipped(modules[index], skipped(original), runs)
                replaced.append((modules, index, modules[index]))
                modules[index] = stand_in.train(original.training)
            yield unet
        finally:
            for modules, index, module in replaced:
                modules[index] = module


def _union(architectures: Sequence[Architecture]) -> Architecture:
    """The blocks that run for at least one picture."""
    first = architectures[0]
    if all(each == first for each in architectures):
        return first
    counts = {}
    for block in first:
        numbers = {architecture[block] for architecture in architectures} - {0}
        if len(numbers) > 1:
            raise ArchitectureError(
                f"pictures of one batch repeat '{block}' differently ({sorted(numbers)} times); "
                "use one multiplicity, or 0"
            )
        counts[block] = max(numbers, default=0)
    return first.with_multiplicities(counts)


def _runs(architecture: Architecture, block: BlockId) -> bool:
    """Whether a block runs, or any transformer layer of a cross-attention block."""
    return any(architecture[each] for each in architecture.sites.get(block, (block,)))
