"""A found UNet on its own: without the weights of removed blocks, with those of added ones.

This file needs torch and diffusers alone, besides the stand-ins beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

# ModelMixin is not used here: a pipeline that was stored with this class is loaded again only if
# diffusers finds that name beside the class.
from diffusers import ModelMixin, UNet2DConditionModel  # noqa: F401

from supernet.architecture import Architecture, ArchitectureError, BlockId, granularity_of
from supernet.growth import copies_of, new_copy
from supernet.inventory import unet_config
from supernet.stand_ins import BlockChain, skipped
from supernet.unet_blocks import block_ids, find_block, replace_block


class StandaloneUNet(UNet2DConditionModel):
    """A ``UNet2DConditionModel`` with blocks removed or repeated, as diffusers would load it.

    It is called like its base, saves and loads with ``save_pretrained`` / ``from_pretrained`` and
    works in stock pipelines. Its configuration is the base's and ``multiplicities``.

    Attributes:
        architecture: which blocks it has.

    Args:
        multiplicities: text form of a block to how often it runs (0 removed, 2 or more with
            copies); blocks that are not named run once.
        base: the arguments of ``UNet2DConditionModel``.

    Raises:
        ArchitectureError: if the base has no such block, or a multiplicity is no whole number of 0
            or more.
    """

    def __init__(self, multiplicities: Mapping[str, int] | None = None, **base: Any) -> None:
        super().__init__(**base)
        self.register_to_config(multiplicities=dict(multiplicities or {}))
        self.architecture = _architecture_of(self)
        for block, count in self.architecture.changes:
            source = find_block(self, block)
            copies = [new_copy(source) for _ in range(count - 1)]
            replace_block(self, block, BlockChain([source, *copies]) if count else skipped(source))

    @staticmethod
    def _get_init_keys(input_class: type) -> set[str]:
        # diffusers reads a class' settings from the signature of its __init__; this one's are
        # the base's and one more.
        return set(UNet2DConditionModel._get_init_keys(UNet2DConditionModel)) | {"multiplicities"}


def materialize(unet: UNet2DConditionModel, architecture: Architecture) -> StandaloneUNet:
    """The standalone UNet of an architecture with the supernet's weights (copied).

    Copies of a block that the supernet does not own begin with the weights of their source. The
    result computes what the supernet computes under the architecture, and lies on the same device.

    Args:
        unet: the supernet's UNet, with no architecture active.
        architecture: what to keep; must be of this UNet's configuration.

    Raises:
        ArchitectureError: if the architecture is of another UNet or cannot be built.
    """
    if architecture.base != unet_config(unet):
        raise ArchitectureError(f"architecture {architecture.id} belongs to another base UNet")
    changed = {str(block): count for block, count in architecture.blocks if count != 1}
    # On meta no weights are drawn at random only to be replaced.
    with torch.device("meta"):
        standalone = StandaloneUNet.from_config(
            {**architecture.base.values, "multiplicities": changed}
        )
    weights = unet.state_dict()
    for block, count in architecture.changes:
        if count > 1:
            path, index = block.module_path
            source = find_block(unet, block)
            missing = count - 1 - len(copies_of(source))
            chain = [source, *copies_of(source), *(new_copy(source) for _ in range(missing))]
            for place, module in enumerate(chain):
                for name, value in module.state_dict().items():
                    weights[f"{path}.{index}.{place}.{name}"] = value
    own = {name: weights[name].clone() for name in standalone.state_dict()}
    standalone.load_state_dict(own, assign=True)
    return standalone.train(unet.training)


def architecture_of(unet: UNet2DConditionModel) -> Architecture:
    """The architecture that a stock or standalone UNet has."""
    return unet.architecture if isinstance(unet, StandaloneUNet) else _architecture_of(unet)


def _architecture_of(unet: UNet2DConditionModel) -> Architecture:
    """As the configuration says of a UNet whose blocks are all in their places."""
    multiplicities = unet.config.get("multiplicities") or {}
    counts = {BlockId.parse(text): count for text, count in multiplicities.items()}
    blocks = block_ids(unet, granularity_of(counts))
    full = Architecture(unet_config(unet), tuple((block, 1) for block in blocks))
    return full.with_multiplicities(counts)
