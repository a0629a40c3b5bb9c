"""Blocks that are removed or added together: by stage, by layer, in pairs across the U.

BK-SDM (arXiv 2305.15798, Sec. 4.1) removes a ResNet with the attention behind it, and what lies
across the skip connection with it; the larger a UNet, the more a search gains by such steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from supernet.architecture import (
    RESNET,
    TRANSFORMER_LAYER,
    Architecture,
    ArchitectureError,
    BlockId,
)

# What a search may treat as one, besides single blocks:
# - stage: all blocks of one kind of a stage
# - layer: the ResNet and the cross-attention j of stage i
# - pair: a block of the way down and the one on the way up that its output is handed across to
# - attention: all transformer layers of one cross-attention block
Grouping = Literal["stage", "layer", "pair", "attention"]


@dataclass(frozen=True, order=True)
class BlockGroup:
    """Blocks of one base UNet under one name.

    Attributes:
        name: ``all cross_attention down.0``, ``layer down.0/1``, ``pair resnet down.0/1`` or
            ``layers of mid/0``.
        blocks: two or more, in forward order.
    """

    name: str
    blocks: tuple[BlockId, ...]

    def __str__(self) -> str:
        return self.name


def block_groups(full: Architecture, grouping: Grouping) -> Iterator[BlockGroup]:
    """The groups of one kind that a base UNet has, in forward order; single blocks make none.

    Args:
        full: the base, with every block once.
        grouping: the kind of group.
    """
    members: dict[str, list[BlockId]] = {}
    for block in full:
        for name in _NAMES[grouping](block, full):
            members.setdefault(name, []).append(block)
    for name, blocks in members.items():
        if len({block.site for block in blocks}) > 1 or grouping == "attention":
            yield BlockGroup(name, tuple(blocks))


def find_group(text: str, full: Architecture) -> BlockGroup:
    """The group of a base UNet by its name.

    Raises:
        ArchitectureError: if it has none of that name.
    """
    for grouping in get_args(Grouping):
        for group in block_groups(full, grouping):
            if group.name == text:
                return group
    raise ArchitectureError(
        f"this UNet has no group of blocks '{text}'; names are like 'all cross_attention down.0', "
        "'layer down.0/1', 'pair resnet down.0/1' and 'layers of mid/0'"
    )


def _kind(block: BlockId) -> str:
    return block.site.kind


def _stage(block: BlockId, _: Architecture) -> Iterator[str]:
    yield f"all {_kind(block)} {block.stage}"


def _layer(block: BlockId, _: Architecture) -> Iterator[str]:
    yield f"layer {block.stage}/{block.index}"


def _attention(block: BlockId, _: Architecture) -> Iterator[str]:
    if block.kind == TRANSFORMER_LAYER:
        yield f"layers of {block.stage}/{block.index}"


def _pair(block: BlockId, full: Architecture) -> Iterator[str]:
    """Pairs are named by their end on the way down.

    The up stage across takes the outputs of a down stage last first: its ResNet k is handed that
    of ResNet ``L - 1 - k``, where the down stage has L.
    """
    side, _, number = block.stage.partition(".")
    if side == "down":
        yield f"pair {_kind(block)} {block.stage}/{block.index}"
    elif side == "up":
        stages = 1 + max(int(b.stage.partition(".")[2]) for b in full if b.stage.startswith("up"))
        across = f"down.{stages - 1 - int(number)}"
        resnets = sum(b.kind == RESNET and b.stage == across for b in full)
        if block.index < resnets:
            yield f"pair {_kind(block)} {across}/{resnets - 1 - block.index}"


_NAMES = {"stage": _stage, "layer": _layer, "pair": _pair, "attention": _attention}
