"""The supernet: one UNet that runs every architecture of its base with shared weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from diffusers import UNet2DConditionModel
from torch import nn

from supernet.architecture import Architecture, ArchitectureError, Granularity, granularity_of
from supernet.growth import copies_of
from supernet.inventory import take_inventory, unet_config
from supernet.parts import Inventory
from supernet.standalone_unet import BlockChain, changes_shape, skipped
from supernet.unet_blocks import find_block, replace_block


class Supernet:
    """A stock UNet whose blocks can be left out or repeated while it runs.

    The UNet itself is not changed: for as long as an architecture is active, stateless stand-ins
    take the places of removed and repeated blocks. With every block on nothing is replaced, so
    outputs and gradients are those of stock diffusers, bit for bit.

    Args:
        unet: of any supported kind; grown or not.
        granularity: what :meth:`full` and the inventory count as a block: cross-attention blocks,
            or their transformer layers. Architectures of either kind can run.

    Example:
        >>> supernet = Supernet(unet)
        >>> lighter = supernet.full().without([BlockId.parse("cross_attention down.0/1")])
        >>> with supernet.running(lighter) as unet:
        ...     noise = unet(sample, timestep, encoder_hidden_states).sample

    Raises:
        ArchitectureError: if the UNet is none of those that are supported, or is a standalone one
            whose blocks were removed or repeated already.
    """

    def __init__(self, unet: UNet2DConditionModel, granularity: Granularity = "block") -> None:
        if unet.config.get("multiplicities"):
            raise ArchitectureError(
                "blocks of this UNet were removed or repeated already; "
                "make the supernet of the base UNet that it was found in"
            )
        self.unet = unet
        self.inventory: Inventory = take_inventory(unet_config(unet), granularity=granularity)

    def full(self) -> Architecture:
        """The architecture with every block once: the base UNet."""
        return self.inventory.full()

    @contextmanager
    def running(self, architecture: Architecture) -> Iterator[UNet2DConditionModel]:
        """The UNet running ``architecture``; as it was again on leaving.

        Copies that the UNet does not own (see :mod:`supernet.growth`) share the weights of their
        source; what would follow a ResNet that changes its channels is the identity until then.

        Raises:
            ArchitectureError: if the architecture is of another base.
        """
        granularity = granularity_of(architecture)
        take_inventory(self.inventory.config, granularity=granularity).check(architecture)
        replaced = []
        try:
            for block, count in architecture.changes:
                original = find_block(self.unet, block)
                stand_in = _chain(original, count) if count else skipped(original)
                replace_block(self.unet, block, stand_in.train(original.training))
                replaced.append((block, original))
            yield self.unet
        finally:
            for block, original in replaced:
                replace_block(self.unet, block, original)


def _chain(block: nn.Module, count: int) -> BlockChain:
    own = copies_of(block)[: count - 1]
    shared = [] if changes_shape(block) else [block] * (count - 1 - len(own))
    return BlockChain([block, *own, *shared])
