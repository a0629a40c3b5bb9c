"""What a UNet's latency and size add up from: its parts, removable or fixed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from latency_tables import BlockSignature
from supernet.architecture import BlockId


@dataclass(frozen=True)
class Part:
    """A piece of a UNet and what it costs.

    Attributes:
        name: a block's text form or the path of a fixed part's module.
        stage: the stage it belongs to, ``""`` outside of all stages.
        signature: what its latency depends on.
        parameters: number of weights.
        macs: multiply-accumulates of one forward pass at the signature's batch and resolution.
    """

    name: str
    stage: str
    signature: BlockSignature
    parameters: int
    macs: int


@dataclass(frozen=True)
class Block:
    """A removable block.

    Attributes:
        id: its name.
        part: what runs where it is; of a transformer layer, a cross-attention block that holds no
            other layer.
        remainder: what stays in its place when it is removed, if anything.
        follower: what is placed behind it when it is added once more.
    """

    id: BlockId
    part: Part
    remainder: Part | None
    follower: Part

    @property
    def changes_shape(self) -> bool:
        """Whether it ends in other channels than it begins with, so that no copy can follow it."""
        return self.remainder is not None

    def parts(self, count: int) -> Iterator[Part]:
        """What is there when the block runs ``count`` times."""
        if count:
            yield self.part
        elif self.remainder is not None:
            yield self.remainder
        for _ in range(count - 1):
            yield self.follower


@dataclass(frozen=True)
class LayeredAttention:
    """A cross-attention block whose transformer layers are removed and added one by one.

    Its layers have the same shape, so what it costs depends on their number alone.

    Attributes:
        part: the block with all its layers.
        layers: these.
        layer_parameters: number of weights of one.
        layer_macs: multiply-accumulates of one.
    """

    part: Part
    layers: tuple[BlockId, ...]
    layer_parameters: int
    layer_macs: int

    def with_layers(self, count: int) -> Part:
        """The block with another number of layers, 1 or more."""
        more = count - len(self.layers)
        return replace(
            self.part,
            signature=replace(self.part.signature, transformer_layers=count),
            parameters=self.part.parameters + more * self.layer_parameters,
            macs=self.part.macs + more * self.layer_macs,
        )
