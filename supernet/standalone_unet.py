"""A found UNet on its own: without the weights of removed blocks, with those of added ones.

This file needs torch and diffusers alone, besides the stand-ins beside it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from diffusers import UNet2DConditionModel

from supernet.architecture import Architecture, ArchitectureError, BlockId
from supernet.inventory import unet_config
from supernet.stand_ins import BlockChain, changes_shape, skipped
from supernet.unet_blocks import block_ids, find_block, replace_block


class StandaloneUNet(UNet2DConditionModel):
    """A ``UNet2DConditionModel`` with blocks removed or repeated, as diffusers would load it.

    It is called like its base, saves and loads with ``save_pretrained`` / ``from_pretrained`` and
    works in stock pipelines. Its configuration is the base's and ``multiplicities``.

    Args:
        multiplicities: text form of a block to how often it runs (0 removed, 2 or more with
            copies); blocks that are not named run once.
        base: the arguments of ``UNet2DConditionModel``.

    Raises:
        ArchitectureError: if the base has no such block, a multiplicity is no whole number of 0
            or more, or a block is repeated that changes its number of channels.
    """

    def __init__(self, multiplicities: Mapping[str, int] | None = None, **base: Any) -> None:
        super().__init__(**base)
        self.register_to_config(multiplicities=dict(multiplicities or {}))
        architecture = architecture_of(self)
        for block in architecture.removed:
            replace_block(self, block, skipped(find_block(self, block)))
        for block in architecture.added:
            source = find_block(self, block)
            if changes_shape(source):
                raise ArchitectureError(
                    f"'{block}' changes its number of channels, so a copy cannot follow it; "
                    "use a multiplicity of 0 or 1"
                )
            copies = [copy.deepcopy(source) for _ in range(architecture[block] - 1)]
            replace_block(self, block, BlockChain([source, *copies]))

    @staticmethod
    def _get_init_keys(input_class: type) -> set[str]:
        # diffusers reads a class' settings from the signature of its __init__; this one's are
        # the base's and one more.
        return set(UNet2DConditionModel._get_init_keys(UNet2DConditionModel)) | {"multiplicities"}


def materialize(unet: UNet2DConditionModel, architecture: Architecture) -> StandaloneUNet:
    """The standalone UNet of an architecture with the supernet's weights (copied).

    Copies of a block begin with the weights of their source. The result computes what the
    supernet computes under the architecture, and lies on the same device.

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
    own = standalone.state_dict()
    for block in architecture.added:
        path, index = block.module_path
        prefix = f"{path}.{index}."
        for name in [name for name in weights if name.startswith(prefix)]:
            value = weights.pop(name)
            for copy_index in range(architecture[block]):
                weights[f"{prefix}{copy_index}.{name.removeprefix(prefix)}"] = value
    standalone.load_state_dict({name: weights[name].clone() for name in own}, assign=True)
    return standalone.train(unet.training)


def architecture_of(unet: UNet2DConditionModel) -> Architecture:
    """The architecture that a stock or standalone UNet has."""
    base = unet_config(unet)
    counts = unet.config.get("multiplicities") or {}
    full = Architecture(base, tuple((block, 1) for block in block_ids(unet)))
    return full.with_multiplicities({BlockId.parse(text): n for text, n in counts.items()})
