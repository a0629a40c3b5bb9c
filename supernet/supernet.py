"""The supernet: one UNet that runs every architecture of its base with shared weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from diffusers import UNet2DConditionModel

from supernet.architecture import Architecture, ArchitectureError
from supernet.inventory import Inventory, take_inventory, unet_config
from supernet.stand_ins import BlockChain, skipped
from supernet.unet_blocks import find_block, replace_block


class Supernet:
    """A stock UNet whose blocks can be left out or repeated while it runs.

    The UNet itself is not changed: for as long as an architecture is active, stateless stand-ins
    take the places of removed and repeated blocks. With every block on nothing is replaced, so
    outputs and gradients are those of stock diffusers, bit for bit.

    Example:
        >>> supernet = Supernet(unet)
        >>> lighter = supernet.full().without([BlockId.parse("cross_attention down.0/1")])
        >>> with supernet.running(lighter) as unet:
        ...     noise = unet(sample, timestep, encoder_hidden_states).sample

    Raises:
        ArchitectureError: if the UNet is none of those that are supported, or is a standalone one
            whose blocks were removed or repeated already.
    """

    def __init__(self, unet: UNet2DConditionModel) -> None:
        if unet.config.get("multiplicities"):
            raise ArchitectureError(
                "blocks of this UNet were removed or repeated already; "
                "make the supernet of the base UNet that it was found in"
            )
        self.unet = unet
        self.inventory: Inventory = take_inventory(unet_config(unet))

    def full(self) -> Architecture:
        """The architecture with every block once: the base UNet."""
        return self.inventory.full()

    @contextmanager
    def running(self, architecture: Architecture) -> Iterator[UNet2DConditionModel]:
        """The UNet running ``architecture``; as it was again on leaving.

        Repeated blocks share the weights of their source.

        Raises:
            ArchitectureError: if the architecture is of another base or repeats a block that
                changes its number of channels.
        """
        self.inventory.check(architecture)
        replaced = []
        try:
            for block, count in architecture.blocks:
                if count == 1:
                    continue
                original = find_block(self.unet, block)
                stand_in = BlockChain([original] * count) if count else skipped(original)
                replace_block(self.unet, block, stand_in.train(original.training))
                replaced.append((block, original))
            yield self.unet
        finally:
            for block, original in replaced:
                replace_block(self.unet, block, original)
