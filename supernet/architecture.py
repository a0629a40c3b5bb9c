"""The architecture of a UNet as a value: which blocks of its base run, and how often.

The notation is the paper's: ResNet[i, j] and Cross-Attention[i, j] are block j of stage i
(SnapFusion, Sec. 3.1). Nothing in this module needs torch.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, total_ordering
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from typing_extensions import Self

RESNET = "resnet"
CROSS_ATTENTION = "cross_attention"
TRANSFORMER_LAYER = "transformer_layer"
KINDS = (RESNET, CROSS_ATTENTION, TRANSFORMER_LAYER)
SITE_KINDS = (RESNET, CROSS_ATTENTION)  # of what stands in a stage; transformer layers stand inside

MAX_MULTIPLICITY = 2  # a search adds one copy: the paper's Up-1 goes from 3 cross-attentions to 6

# What counts as a block: a cross-attention block as a whole or, where it holds several transformer
# layers (up to 10 in SDXL), each of these.
Granularity = Literal["block", "transformer_layer"]

_NUMBER = r"(0|[1-9][0-9]*)"  # one spelling per number, so that one block has one text form
_STAGE = re.compile(rf"(down|up)\.{_NUMBER}|mid")
_BLOCK = re.compile(
    rf"(resnet|cross_attention) (\S+)/{_NUMBER}|(transformer_layer) (\S+)/{_NUMBER}\.{_NUMBER}"
)


class ArchitectureError(ValueError):
    """An architecture, block or UNet configuration that cannot be what it claims to be."""


@total_ordering
@dataclass(frozen=True)
class BlockId:
    """One removable block of a UNet.

    Attributes:
        kind: ``resnet``, ``cross_attention`` or ``transformer_layer``.
        stage: ``down.0`` ... ``mid`` ... ``up.3``, as in ``down_blocks.0`` of diffusers.
        index: position among the blocks of this kind in the stage, from 0; of a transformer layer,
            that of the cross-attention block which holds it.
        layer: position of a transformer layer in its cross-attention block, from 0; else None.

    Blocks sort in the order in which a forward pass meets them. As text: ``resnet down.0/1``,
    ``transformer_layer mid/0.9``.
    """

    kind: str
    stage: str
    index: int
    layer: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ArchitectureError(f"unknown block kind {self.kind!r}: use one of {KINDS}")
        if not _STAGE.fullmatch(self.stage):
            raise ArchitectureError(f"unknown stage {self.stage!r}: use down.N, mid or up.N")
        if not _is_count(self.index):
            raise ArchitectureError(f"index of a block is {self.index!r}: use 0 or more")
        if (self.layer is not None) != (self.kind == TRANSFORMER_LAYER):
            raise ArchitectureError(f"a {TRANSFORMER_LAYER}, and it alone, has a layer's number")
        if self.layer is not None and not _is_count(self.layer):
            raise ArchitectureError(f"layer of a block is {self.layer!r}: use 0 or more")

    @classmethod
    def parse(cls, text: str) -> BlockId:
        """Read ``"cross_attention down.0/1"``.

        Raises:
            ArchitectureError: if the text is not of that form.
        """
        match = _BLOCK.fullmatch(text)
        if match is None:
            raise ArchitectureError(
                f"not a block: {text!r}; write it like 'cross_attention down.0/1', 'resnet mid/0' "
                "or 'transformer_layer mid/0.3'"
            )
        if match[1]:
            return cls(match[1], match[2], int(match[3]))
        return cls(match[4], match[5], int(match[6]), int(match[7]))

    def __str__(self) -> str:
        layer = "" if self.layer is None else f".{self.layer}"
        return f"{self.kind} {self.stage}/{self.index}{layer}"

    @cached_property
    def site(self) -> BlockId:
        """The block itself; of a transformer layer, the cross-attention block that holds it."""
        if self.layer is None:
            return self
        return replace(self, kind=CROSS_ATTENTION, layer=None)

    @property
    def module_path(self) -> tuple[str, int]:
        """Path of the module list that holds this block in diffusers' UNet, and its place in it."""
        side, _, number = self.stage.partition(".")
        stage = "mid_block" if side == "mid" else f"{side}_blocks.{number}"
        if self.layer is not None:
            return f"{stage}.attentions.{self.index}.transformer_blocks", self.layer
        return f"{stage}.{'resnets' if self.kind == RESNET else 'attentions'}", self.index

    @cached_property
    def _order(self) -> tuple[int, int, int, int]:
        side, _, number = self.stage.partition(".")
        place = 2 * self.index + (self.kind != RESNET)
        return (
            ("down", "mid", "up").index(side),
            int(number or 0),
            place,
            -1 if self.layer is None else self.layer,
        )

    def __lt__(self, other: BlockId) -> bool:
        return self._order < other._order


@dataclass(frozen=True)
class ModelConfig:
    """The configuration of a diffusers model, frozen and hashable.

    Build it with :meth:`of`; ``text`` is canonical JSON, so that equal configurations are equal.
    """

    text: str

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """From a diffusers configuration; private entries (``_class_name``, ...) are left out."""
        return cls(_canonical({k: v for k, v in values.items() if not k.startswith("_")}))

    @classmethod
    def complete(cls, model: type, given: Mapping[str, Any]) -> Self:
        """Every setting of a diffusers class, in its default where it is not given.

        So a short and a long form of one configuration are equal; entries that are no settings of
        the class are left out.
        """
        settings = list(inspect.signature(model).parameters.values())
        return cls.of({s.name: given.get(s.name, s.default) for s in settings})

    @cached_property
    def values(self) -> dict[str, Any]:
        values: dict[str, Any] = json.loads(self.text)
        return values

    @cached_property
    def digest(self) -> str:
        """Twelve hexadecimal digits that tell this configuration from others."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:12]


class UNetConfig(ModelConfig):
    """That of a base ``UNet2DConditionModel``."""


@dataclass(frozen=True)
class Architecture:
    """How often every block of a base UNet runs.

    Attributes:
        base: the configuration of the UNet that the blocks belong to.
        blocks: every block of the base with its multiplicity, in forward order: 0 removed,
            1 as in the base, 2 or more with copies of it placed behind it.
    """

    base: UNetConfig
    blocks: tuple[tuple[BlockId, int], ...]

    def __post_init__(self) -> None:
        if any(not one < other for (one, _), (other, _) in pairwise(self.blocks)):
            raise ArchitectureError("blocks must be unique and in forward order")
        for block, count in self.blocks:
            if not _is_count(count):
                raise ArchitectureError(
                    f"multiplicity of {block} is {count!r}: use a whole number, 0 or more"
                )

    def __hash__(self) -> int:
        # Of what is computed once: architectures are keys of everything that a search knows.
        return int(self.id, 16)

    @cached_property
    def multiplicities(self) -> Mapping[BlockId, int]:
        return dict(self.blocks)

    def __getitem__(self, block: BlockId) -> int:
        try:
            return self.multiplicities[block]
        except KeyError:
            raise ArchitectureError(self._unknown(block)) from None

    def __iter__(self) -> Iterator[BlockId]:
        return iter(self.multiplicities)

    def with_multiplicity(self, block: BlockId, count: int) -> Architecture:
        """This architecture with one block's multiplicity replaced.

        Raises:
            ArchitectureError: if the base has no such block or ``count`` is negative.
        """
        return self.with_multiplicities({block: count})

    def with_multiplicities(self, counts: Mapping[BlockId, int]) -> Architecture:
        for block in counts:
            if block not in self.multiplicities:
                raise ArchitectureError(self._unknown(block))
        changed = tuple((block, counts.get(block, count)) for block, count in self.blocks)
        return Architecture(self.base, changed)

    def without(self, blocks: Iterable[BlockId]) -> Architecture:
        return self.with_multiplicities(dict.fromkeys(blocks, 0))

    @cached_property
    def sites(self) -> Mapping[BlockId, tuple[BlockId, ...]]:
        """What stands in the stages, each with its blocks: itself, or its transformer layers."""
        grouped = groupby(self, lambda block: block.site)
        return {site: tuple(blocks) for site, blocks in grouped}

    @cached_property
    def removed(self) -> tuple[BlockId, ...]:
        return tuple(block for block, count in self.blocks if count == 0)

    @cached_property
    def added(self) -> tuple[BlockId, ...]:
        return tuple(block for block, count in self.blocks if count > 1)

    @cached_property
    def changes(self) -> tuple[tuple[BlockId, int], ...]:
        """The blocks that do not run exactly once, with how often they do, in forward order.

        A cross-attention block of which no transformer layer is left counts as removed itself:
        its projections would only cost time.
        """
        changed: list[tuple[BlockId, int]] = []
        for site, blocks in self.sites.items():
            counts = [(block, self[block]) for block in blocks]
            if not any(count for _, count in counts):
                changed.append((site, 0))
            else:
                changed += [(block, count) for block, count in counts if count != 1]
        return tuple(changed)

    @cached_property
    def id(self) -> str:
        """Ten hexadecimal digits: the same for the same base and multiplicities, anywhere."""
        return hashlib.sha256(f"{self.base.text}{self._counts()}".encode()).hexdigest()[:10]

    def to_json(self) -> dict[str, Any]:
        """A JSON object: ``base`` (UNet configuration) and ``blocks`` (text to multiplicity)."""
        return {
            "base": self.base.values,
            "blocks": {str(block): count for block, count in self.blocks},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Architecture:
        """The inverse of :meth:`to_json`.

        Raises:
            ArchitectureError: if ``base`` or ``blocks`` is missing or no object, a block is
                malformed, or a multiplicity is no whole number of 0 or more.
        """
        for field in ("base", "blocks"):
            if not isinstance(value.get(field), Mapping):
                raise ArchitectureError(f"an architecture needs the field '{field}', an object")
        blocks = {BlockId.parse(text): count for text, count in value["blocks"].items()}
        return cls(UNetConfig.of(value["base"]), tuple(sorted(blocks.items())))

    def _counts(self) -> str:
        return ",".join(f"{block}={count}" for block, count in self.blocks)

    def _unknown(self, block: BlockId) -> str:
        stages = {other.stage for other in self if other.kind == block.kind}
        known = [str(other) for other in self if other.stage == block.stage] or sorted(stages)
        return f"this UNet has no block '{block}'; there are: {', '.join(known)}"


def granularity_of(blocks: Iterable[BlockId]) -> Granularity:
    """The granularity at which these blocks are named."""
    layered = any(block.kind == TRANSFORMER_LAYER for block in blocks)
    return "transformer_layer" if layered else "block"


def _is_count(value: object) -> bool:
    """Whether it is a whole number of 0 or more; ``True`` is none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
