"""What a UNet consists of: its removable blocks and fixed parts, with signatures and costs.

The UNet is built on torch's meta device and run once there, so that any ``UNet2DConditionModel``
is analysed from its configuration alone, without weights and in little memory.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

from diffusers import UNet2DConditionModel

from latency_tables import BlockSignature
from supernet.architecture import (
    MAX_MULTIPLICITY,
    TRANSFORMER_LAYER,
    Architecture,
    ArchitectureError,
    BlockId,
    Granularity,
    UNetConfig,
)
from supernet.parts import Block, LayeredAttention, Part
from supernet.parts_reader import PartsReader
from supernet.supported import check_supported
from supernet.tracing import example_inputs, meta_unet, trace
from supernet.unet_blocks import block_ids

GUIDED_BATCH = 2  # one picture under classifier-free guidance: with and without its prompt


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


def take_inventory(
    config: UNetConfig,
    *,
    granularity: Granularity = "block",
    batch: int = GUIDED_BATCH,
    height: int | None = None,
    width: int | None = None,
    context_length: int = 77,
) -> Inventory:
    """Analyse a base UNet from its configuration.

    Args:
        config: any configuration of ``UNet2DConditionModel``.
        granularity: what counts as a block: cross-attention blocks, or their transformer layers.
        batch: pictures per forward pass; 2 is one picture under guidance.
        height: of the latents; by default the configuration's ``sample_size``.
        width: likewise.
        context_length: tokens of ``encoder_hidden_states``.

    Raises:
        ArchitectureError: if diffusers cannot build this configuration, if it is none of those
            that are supported (naming the setting), or if it has no block that can be removed.
    """
    size = config.values.get("sample_size") or 64
    default_height, default_width = (size, size) if isinstance(size, int) else size
    height, width = height or default_height, width or default_width
    return _take_inventory(config, granularity, batch, height, width, context_length)


@lru_cache(maxsize=32)
def _take_inventory(
    config: UNetConfig,
    granularity: Granularity,
    batch: int,
    height: int,
    width: int,
    context_length: int,
) -> Inventory:
    check_supported(config)
    unet = meta_unet(config)
    inputs = example_inputs(unet, batch, height, width, context_length)
    shapes, flops = trace(unet, inputs)
    reader = PartsReader(unet, shapes, flops, batch, context_length)
    ids = block_ids(unet, granularity)
    if not ids:
        raise ArchitectureError("this UNet has no ResNet or cross-attention block to remove")
    return Inventory(
        config,
        tuple(reader.block(block_id) for block_id in ids),
        tuple(reader.layered_attentions(ids)),
        tuple(reader.fixed_parts()),
    )


def unet_config(unet: UNet2DConditionModel | Mapping[str, Any]) -> UNetConfig:
    """The base configuration of a UNet, or of a mapping as diffusers stores it.

    Defaults are filled in, so that a short and a long form of one configuration are equal;
    entries that are no settings of ``UNet2DConditionModel`` are left out.
    """
    given = unet.config if isinstance(unet, UNet2DConditionModel) else unet
    settings = list(inspect.signature(UNet2DConditionModel.__init__).parameters.values())[1:]
    return UNetConfig.of({s.name: given.get(s.name, s.default) for s in settings})
