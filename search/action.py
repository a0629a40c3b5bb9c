"""The action set A: remove or add one block (SnapFusion, Sec. 3.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from supernet.architecture import Architecture, BlockId
from supernet.inventory import Inventory

MAX_MULTIPLICITY = 2  # the paper's Up-1 goes from 3 cross-attention blocks to 6


@dataclass(frozen=True, order=True)
class Action:
    """Remove (``change == -1``) or add (``+1``) one block.

    Adding a removed block brings it back; adding one that is there puts a copy behind it.
    As text: ``-cross_attention down.0/1`` or ``+resnet mid/0``.
    """

    change: int
    block: BlockId

    def __post_init__(self) -> None:
        if self.change not in (-1, 1):
            raise ValueError(f"an action adds (+1) or removes (-1) one block, not {self.change}")

    @classmethod
    def parse(cls, text: str) -> Action:
        if text[:1] not in ("+", "-"):
            raise ValueError(f"not an action: {text!r}; write it like '-resnet mid/0'")
        return cls(1 if text[0] == "+" else -1, BlockId.parse(text[1:]))

    def __str__(self) -> str:
        return f"{'+' if self.change > 0 else '-'}{self.block}"

    def apply(self, architecture: Architecture) -> Architecture:
        """The architecture after this action.

        Raises:
            ArchitectureError: if there is no such block, or none left to remove.
        """
        return architecture.with_multiplicity(self.block, architecture[self.block] + self.change)


def removals(architecture: Architecture) -> Iterator[Action]:
    """A-: every block that is there, in forward order."""
    for block, count in architecture.blocks:
        if count > 0:
            yield Action(-1, block)


def additions(architecture: Architecture, inventory: Inventory) -> Iterator[Action]:
    """A+: every block that can come back or be copied, in forward order.

    A block that changes its number of channels can only come back: no copy can follow it.
    """
    for block, count in architecture.blocks:
        limit = 1 if inventory.by_id[block].changes_shape else MAX_MULTIPLICITY
        if count < limit:
            yield Action(1, block)
