"""What a UNet's latency and size add up from: its parts, removable or fixed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from latency_tables import BlockSignature
from supernet.architecture import (
    MAX_MULTIPLICITY,
    TRANSFORMER_LAYER,
    Architecture,
    ArchitectureError,
    BlockId,
    UNetConfig,
)


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


@dataclass(frozen=True)
class Inventory:
    """All parts of a base UNet at one batch size and resolution.

    Attributes:
        config: the base UNet's configuration.
        blocks: the removable blocks in forward order.
        attentions: the cross-attention blocks whose transformer layers are among them.
        fixed: everything else that takes time, in forward order.
    """

    config: UNetConfig
    blocks: tuple[Block, ...]
    attentions: tuple[LayeredAttention, ...]
    fixed: tuple[Part, ...]

    @cached_property
    def by_id(self) -> Mapping[BlockId, Block]:
        return {block.id: block for block in self.blocks}

    @cached_property
    def overhead(self) -> BlockSignature:
        """The signature of what a whole pass takes beyond its parts; no table needs a row of it."""
        first = next(part.signature for part in self.fixed if part.signature.kind == "conv_in")
        rest = [block.part.signature for block in self.blocks]
        return replace(
            first,
            kind="overhead",
            temb_channels=max(each.temb_channels for each in rest),
            context_length=max(each.context_length for each in rest),
            context_width=max(each.context_width for each in rest),
        )

    def full(self) -> Architecture:
        """The base itself: every block once."""
        return Architecture(self.config, tuple((block.id, 1) for block in self.blocks))

    def smallest(self) -> Architecture:
        """Every block removed."""
        return self.full().without(block.id for block in self.blocks)

    def parts(self, architecture: Architecture) -> Iterator[Part]:
        """The parts that run under an architecture: fixed ones, blocks (copies too), remainders.

        Raises:
            ArchitectureError: if the architecture is of another base or lacks a block.
        """
        self.check(architecture)
        yield from self.fixed
        attentions = {attention.layers[0].site: attention for attention in self.attentions}
        for site, blocks in architecture.sites.items():
            count = sum(architecture[block] for block in blocks)
            if site in attentions:
                if count:
                    yield attentions[site].with_layers(count)
            else:
                yield from self.by_id[site].parts(count)

    def check(self, architecture: Architecture) -> None:
        """See that an architecture can run on this base.

        Raises:
            ArchitectureError: if it is of another base, lacks a block or has an unknown one.
        """
        if architecture.base != self.config:
            raise ArchitectureError(
                f"architecture {architecture.id} belongs to the base UNet "
                f"{architecture.base.digest}, not to {self.config.digest}"
            )
        for block in sorted(self.by_id.keys() ^ architecture.multiplicities.keys()):
            problem = "does not list" if block in self.by_id else "lists an unknown block,"
            raise ArchitectureError(f"architecture {architecture.id} {problem} '{block}'")

    def parameters(self, architecture: Architecture) -> int:
        return sum(part.parameters for part in self.parts(architecture))

    def macs(self, architecture: Architecture) -> int:
        return sum(part.macs for part in self.parts(architecture))

    def possible_parts(self) -> Iterator[Part]:
        """Every part that some architecture which a search may meet has; fixed ones first."""
        yield from self.fixed
        for block in self.blocks:
            if block.id.kind != TRANSFORMER_LAYER:
                yield block.part
        for block in self.blocks:
            if block.remainder is not None:
                yield block.remainder
        for block in self.blocks:
            if block.changes_shape:
                yield block.follower
        for attention in self.attentions:
            for count in range(1, MAX_MULTIPLICITY * len(attention.layers) + 1):
                yield attention.with_layers(count)

    def all_signatures(self) -> list[BlockSignature]:
        """The signatures of :meth:`possible_parts`, without repetition."""
        return list(dict.fromkeys(part.signature for part in self.possible_parts()))
