"""The spec of a found UNet: everything about it but its weights, in one JSON file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from supernet.architecture import (
    CROSS_ATTENTION,
    RESNET,
    TRANSFORMER_LAYER,
    Architecture,
    ArchitectureError,
    BlockId,
    granularity_of,
)
from supernet.inventory import Inventory, take_inventory, unet_config
from supernet.parts import Block

SPEC_VERSION = 1


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StageRow(_Value):
    """One stage of the layer table.

    Attributes:
        stage: ``down.0`` ... ``mid`` ... ``up.3``.
        height: of its feature maps.
        width: likewise.
        channels: at its end.
        resnets: ResNet blocks of the base and of the found UNet.
        cross_attentions: cross-attention blocks likewise.
        transformer_layers: in these; None in specs that do not count them.
    """

    stage: str
    height: int
    width: int
    channels: int
    resnets: tuple[int, int]
    cross_attentions: tuple[int, int]
    transformer_layers: tuple[int, int] | None = None


class TableFigure(_Value):
    """Latency by one table, in ms of one UNet pass."""

    table: str
    device: str
    precision: str
    base_ms: float
    found_ms: float


class ClipFigure(_Value):
    """Mean CLIP score before and after, and on what."""

    base: float
    found: float
    prompts: int
    num_inference_steps: int
    guidance_scale: float
    judge: str


class Provenance(_Value):
    """What made it: experiment, seed, version and the SHA-256 of the weights (12 digits)."""

    experiment: str
    seed: int
    evounet: str
    weights: str


class Spec(_Value):
    """A found UNet without its weights; see :func:`read_spec` for reading one back."""

    version: Literal[1] = 1
    base: dict[str, Any]
    multiplicities: dict[str, int] = Field(
        description="blocks that differ from the base: 0 removed, 2 or more with copies behind"
    )
    stages: tuple[StageRow, ...]
    parameters: tuple[int, int] = Field(description="of the base and of the found UNet")
    macs: tuple[int, int] = Field(description="likewise, multiply-accumulates of one pass")
    latency: tuple[TableFigure, ...]
    clip: ClipFigure | None
    provenance: Provenance

    def architecture(self) -> Architecture:
        """The architecture that the spec describes.

        Raises:
            ArchitectureError: if the base has no such block, or it cannot run that often.
        """
        changed = {BlockId.parse(text): count for text, count in self.multiplicities.items()}
        granularity = granularity_of(changed)
        inventory = take_inventory(unet_config(self.base), granularity=granularity)
        architecture = inventory.full().with_multiplicities(changed)
        inventory.check(architecture)
        return architecture


def stage_rows(inventory: Inventory, architecture: Architecture) -> Iterator[StageRow]:
    """The layer table: blocks by stage, in the base and under ``architecture``."""
    for stage, group in groupby(inventory.blocks, lambda block: block.id.stage):
        blocks = list(group)
        signature = blocks[0].part.signature
        yield StageRow(
            stage=stage,
            height=signature.height,
            width=signature.width,
            channels=blocks[-1].part.signature.out_channels,
            resnets=_count([block for block in blocks if block.id.kind == RESNET], architecture),
            cross_attentions=_count_attentions(blocks, architecture),
            transformer_layers=_count_layers(blocks, architecture),
        )


def _count(blocks: list[Block], architecture: Architecture) -> tuple[int, int]:
    """How many of some blocks run, in the base and under an architecture."""
    return len(blocks), sum(architecture[block.id] for block in blocks)


def _count_attentions(blocks: list[Block], architecture: Architecture) -> tuple[int, int]:
    whole = _count([block for block in blocks if block.id.kind == CROSS_ATTENTION], architecture)
    layers = [block.id for block in blocks if block.id.kind == TRANSFORMER_LAYER]
    sites = {layer.site for layer in layers}
    left = {layer.site for layer in layers if architecture[layer]}
    return whole[0] + len(sites), whole[1] + len(left)


def _count_layers(blocks: list[Block], architecture: Architecture) -> tuple[int, int]:
    depths = [(block, block.part.signature.transformer_layers) for block in blocks]
    base = sum(depth for _, depth in depths)
    return base, sum(depth * architecture[block.id] for block, depth in depths)


def build_spec(
    inventory: Inventory,
    architecture: Architecture,
    latency: tuple[TableFigure, ...],
    clip: ClipFigure | None,
    provenance: Provenance,
) -> Spec:
    full = inventory.full()
    return Spec(
        base=architecture.base.values,
        multiplicities={str(block): n for block, n in architecture.blocks if n != 1},
        stages=tuple(stage_rows(inventory, architecture)),
        parameters=(inventory.parameters(full), inventory.parameters(architecture)),
        macs=(inventory.macs(full), inventory.macs(architecture)),
        latency=latency,
        clip=clip,
        provenance=provenance,
    )


def read_spec(path: Path) -> Spec:
    """Load ``spec.json``.

    Raises:
        ArchitectureError: naming the file and what is wrong with it.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArchitectureError(f"{path}: is not readable as JSON ({error})") from error
    version = value.get("version") if isinstance(value, dict) else None
    if version != SPEC_VERSION:
        raise ArchitectureError(
            f"{path}: field 'version' is {version!r}, this evounet reads {SPEC_VERSION}; "
            "use the evounet that wrote it"
        )
    try:
        return Spec.model_validate(value)
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(str(part) for part in problem["loc"])
        raise ArchitectureError(f"{path}: field '{field}': {problem['msg']}") from error
