"""The action set A: remove or add one block (SnapFusion, Sec. 3.2), or a named group of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from supernet.architecture import MAX_MULTIPLICITY, Architecture, BlockId
from supernet.block_groups import BlockGroup, find_group
from supernet.parts import Inventory

if TYPE_CHECKING:
    from supernet.growth import Growth  # imports torch, which decisions are read without


@dataclass(frozen=True)
class Action:
    """Remove (``change == -1``) or add (``+1``) one block, or every block of a group.

    Adding a removed block brings it back; adding one that is there puts a copy behind it. Of a
    group, removing takes one of every block that is there, adding gives one to every block that
    can have another. As text: ``-cross_attention down.0/1``, ``+resnet mid/0`` or
    ``-all cross_attention down.0``.
    """

    change: int
    target: BlockId | BlockGroup

    def __post_init__(self) -> None:
        if self.change not in (-1, 1):
            raise ValueError(f"an action adds (+1) or removes (-1), not {self.change}")

    @classmethod
    def parse(cls, text: str, full: Architecture) -> Action:
        """Read ``"-resnet mid/0"`` or ``"-layer down.0/1"``.

        Args:
            text: of one action.
            full: the base with every block once, whose groups are meant.

        Raises:
            ValueError: if it is none.
        """
        if text[:1] not in ("+", "-"):
            raise ValueError(f"not an action: {text!r}; write it like '-resnet mid/0'")
        change, name = 1 if text[0] == "+" else -1, text[1:]
        if name.partition(" ")[0] in ("all", "layer", "layers", "pair"):
            return cls(change, find_group(name, full))
        return cls(change, BlockId.parse(name))

    def __str__(self) -> str:
        return f"{'+' if self.change > 0 else '-'}{self.target}"

    @property
    def members(self) -> tuple[BlockId, ...]:
        """The block, or the blocks of the group."""
        return self.target.blocks if isinstance(self.target, BlockGroup) else (self.target,)

    def changes(self, architecture: Architecture) -> dict[BlockId, int]:
        """The blocks that it would change, with how often they would run; empty if it cannot be."""
        counts = {block: architecture[block] + self.change for block in self.members}
        return {block: count for block, count in counts.items() if 0 <= count <= MAX_MULTIPLICITY}

    def brings_back(self, architecture: Architecture) -> bool:
        """Whether all that it adds was removed before."""
        counts = self.changes(architecture).values()
        return self.change > 0 and all(count == 1 for count in counts)

    def apply(self, architecture: Architecture) -> Architecture:
        """The architecture after this action.

        Raises:
            ValueError: if it changes nothing, since all its blocks are gone or doubled already.
        """
        counts = self.changes(architecture)
        if not counts:
            raise ValueError(
                f"{self}: all of it is {'doubled' if self.change > 0 else 'gone'} already"
            )
        return architecture.with_multiplicities(counts)


def removals(architecture: Architecture, groups: Sequence[BlockGroup] = ()) -> Iterator[Action]:
    """A-: every block that is there, in forward order, then groups of which two or more are."""
    for block, count in architecture.blocks:
        if count > 0:
            yield Action(-1, block)
    for group in groups:
        if len(Action(-1, group).changes(architecture)) > 1:
            yield Action(-1, group)


def additions(
    architecture: Architecture,
    inventory: Inventory,
    groups: Sequence[BlockGroup] = (),
    growth: Growth = "copy",
) -> Iterator[Action]:
    """A+: every block that can come back or be copied, in forward order, then groups likewise.

    A block that changes its number of channels has no copy: what would follow it computes nothing
    at first. So it can only come back, unless copies in general begin as the identity.
    """

    def possible(action: Action) -> bool:
        return growth == "identity" or not any(
            count > 1 and inventory.by_id[block].changes_shape
            for block, count in action.changes(architecture).items()
        )

    for block, count in architecture.blocks:
        action = Action(1, block)
        if count < MAX_MULTIPLICITY and possible(action):
            yield action
    for group in groups:
        action = Action(1, group)
        if len(action.changes(architecture)) > 1 and possible(action):
            yield action
