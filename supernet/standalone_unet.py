"""A found UNet on its own: without the weights of removed blocks, with those of added ones.

This file needs torch and diffusers alone, besides the stand-ins beside it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from diffusers import UNet2DConditionModel

from supernet.architecture import Architecture, BlockId
from supernet.inventory import block_ids, find_block, replace_block, unet_config
from supernet.stand_ins import BlockChain, skipped


class StandaloneUNet(UNet2DConditionModel):
    """A ``UNet2DConditionModel`` with blocks removed or repeated, as diffusers would load it.

    It is called like its base, saves and loads with ``save_pretrained`` / ``from_pretrained`` and
    works in stock pipelines. Its configuration is the base's and ``multiplicities``.

    Args:
        multiplicities: text form of a block to how often it runs (0 removed, 2 or more with
            copies); blocks that are not named run once.
        base: the arguments of ``UNet2DConditionModel``.
    """

    def __init__(self, multiplicities: Mapping[str, int] | None = None, **base: Any) -> None:
        super().__init__(**base)
        self.register_to_config(multiplicities=dict(multiplicities or {}))
        for text, count in (multiplicities or {}).items():
            block = BlockId.parse(text)
            source = find_block(self, block)
            if count == 0:
                replace_block(self, block, skipped(source))
            elif count > 1:
                copies = [copy.deepcopy(source) for _ in range(count - 1)]
                replace_block(self, block, BlockChain([source, *copies]))

    @staticmethod
    def _get_init_keys(input_class: type) -> set[str]:
        # diffusers reads a class' settings from the signature of its __init__; this one's are
        # the base's and one more.
        return set(UNet2DConditionModel._get_init_keys(UNet2DConditionModel)) | {"multiplicities"}


def materialize(unet: UNet2DConditionModel, architecture: Architecture) -> StandaloneUNet:
    """The standalone UNet of an architecture with the supernet's weights (copied).

    Copies of a block begin with the weights of their source. The result computes what the
    supernet computes under the architecture.

    Args:
        unet: the supernet's UNet, with no architecture active.
        architecture: what to keep; must be of this UNet's configuration.
    """
    changed = {str(block): count for block, count in architecture.blocks if count != 1}
    standalone = StandaloneUNet.from_config({**architecture.base.values, "multiplicities": changed})
    weights = unet.state_dict()
    own = standalone.state_dict()
    for block in architecture.added:
        path, index = block.module_path
        prefix = f"{path}.{index}."
        for name in [name for name in weights if name.startswith(prefix)]:
            value = weights.pop(name)
            for copy_index in range(architecture[block]):
                weights[f"{prefix}{copy_index}.{name.removeprefix(prefix)}"] = value
    standalone.load_state_dict({name: weights[name] for name in own})
    standalone.to(unet.dtype)
    return standalone.train(unet.training)


def architecture_of(unet: UNet2DConditionModel) -> Architecture:
    """The architecture that a stock or standalone UNet has."""
    base = unet_config(unet)
    counts = unet.config.get("multiplicities") or {}
    full = Architecture(base, tuple((block, 1) for block in block_ids(unet)))
    return full.with_multiplicities({BlockId.parse(text): n for text, n in counts.items()})
