"""The spec of a found UNet: everything about it but its weights, in one JSON file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from latency_tables.parsing import parse_json
from supernet.architecture import (
    CROSS_ATTENTION,
    RESNET,
    TRANSFORMER_LAYER,
    Architecture,
    ArchitectureError,
    BlockId,
    granularity_of,
)
from supernet.parts import Block, Inventory

SPEC_VERSION = 2
_FIRST_VERSION = 1


Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


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
    """Latency by one table, in ms of one UNet pass.

    Attributes:
        table: its name.
        digest: SHA-256 of what is in it; None in specs that came of version 1.
        device: that it is of.
        precision: of weights and activations.
        base_ms: of the base.
        found_ms: of the found UNet.
    """

    table: str
    digest: Sha256 | None = None
    device: str
    precision: str
    base_ms: float
    found_ms: float


class ClipFigure(_Value):
    """Mean CLIP score before and after, and on what.

    Attributes:
        base: of the base.
        found: of the found UNet.
        prompts: how many.
        prompt_set: ten hexadecimal digits that tell them and the seeds of their noise from
            others; None in specs that came of version 1.
        num_inference_steps: of every picture.
        guidance_scale: likewise.
        precision: that they were drawn in; None in specs that came of version 1.
        judge: whose score it is.
    """

    base: float
    found: float
    prompts: int
    prompt_set: str | None = None
    num_inference_steps: int
    guidance_scale: float
    precision: str | None = None
    judge: str


class WeightsFile(_Value):
    """A file of weights: its path beside the spec, and its SHA-256 as ``sha256sum`` tells it."""

    file: str
    sha256: Sha256


class Provenance(_Value):
    """What made it.

    Attributes:
        experiment: name of the search; None if it was none.
        seed: likewise.
        evounet: version.
        weights: the files that its weights are in; empty in specs that came of version 1.
        tensors: 12 digits of the SHA-256 of names and values of its weights, which version 1 has
            in place of files.
    """

    experiment: str | None
    seed: int | None
    evounet: str
    weights: tuple[WeightsFile, ...]
    tensors: str | None = None


class Spec(_Value):
    """A found UNet without its weights; see :func:`read_spec` for reading one back."""

    version: Literal[2]
    base: dict[str, Any] = Field(description="configuration of the base UNet2DConditionModel")
    multiplicities: dict[str, int] = Field(
        description="every block in forward order: 0 removed, 1 as in the base, 2 or more with "
        "copies behind it"
    )
    stages: tuple[StageRow, ...]
    parameters: tuple[int, int] = Field(description="of the base and of the found UNet")
    macs: tuple[int, int] = Field(description="likewise, multiply-accumulates of one pass")
    latency: tuple[TableFigure, ...]
    clip: ClipFigure | None
    provenance: Provenance

    @property
    def changed(self) -> dict[str, int]:
        """The blocks that do not run exactly once."""
        return {block: count for block, count in self.multiplicities.items() if count != 1}

    def architecture(self) -> Architecture:
        """The architecture that the spec describes.

        Raises:
            ArchitectureError: if the base has no such block, or it cannot run that often.
        """
        from supernet.inventory import (  # specs are written without torch
            take_inventory,
            unet_config,
        )

        counts = {BlockId.parse(text): count for text, count in self.multiplicities.items()}
        inventory = take_inventory(unet_config(self.base), granularity=granularity_of(counts))
        return inventory.full().with_multiplicities(counts)


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
        version=SPEC_VERSION,
        base=architecture.base.values,
        multiplicities=_by_text(architecture),
        stages=tuple(stage_rows(inventory, architecture)),
        parameters=(inventory.parameters(full), inventory.parameters(architecture)),
        macs=(inventory.macs(full), inventory.macs(architecture)),
        latency=latency,
        clip=clip,
        provenance=provenance,
    )


def _by_text(architecture: Architecture) -> dict[str, int]:
    return {str(block): count for block, count in architecture.blocks}


def read_spec(path: Path) -> Spec:
    """Load ``spec.json``; one of version 1 becomes what this version would say of it.

    Raises:
        ArchitectureError: naming the file and what is wrong with it.
    """
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArchitectureError(f"{path}: is not readable as JSON ({error})") from error
    version = value.get("version") if isinstance(value, dict) else None
    if version not in (_FIRST_VERSION, SPEC_VERSION):
        raise ArchitectureError(
            f"{path}: field 'version' is {version!r}, this evounet reads {_FIRST_VERSION} and "
            f"{SPEC_VERSION}; use the evounet that wrote it"
        )
    try:
        if version == _FIRST_VERSION:
            return _of_first_version(value)
        return Spec.model_validate(value)
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(str(part) for part in problem["loc"])
        raise ArchitectureError(f"{path}: field {field!r}: {problem['msg']}") from error
    except ArchitectureError as error:
        raise ArchitectureError(f"{path}: field 'multiplicities': {error}") from error


def _of_first_version(value: dict[str, Any]) -> Spec:
    """It left out blocks that run once, and had a digest of names and values of the weights."""
    provenance = value.get("provenance")
    if isinstance(provenance, dict):
        tensors = provenance.get("weights")
        value = value | {"provenance": provenance | {"weights": (), "tensors": tensors}}
    spec = Spec.model_validate(value | {"version": SPEC_VERSION})
    return spec.model_copy(update={"multiplicities": _by_text(spec.architecture())})


def spec_schema() -> str:
    """The JSON Schema of a spec, as ``spec.schema.json`` beside this file has it.

    To write that file anew: ``python -m supernet.spec > supernet/spec.schema.json``.
    """
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Spec.model_json_schema()
    return json.dumps(schema, indent=2) + "\n"


if __name__ == "__main__":
    print(spec_schema(), end="")
