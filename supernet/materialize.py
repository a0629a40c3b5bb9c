"""From a supernet to a found UNet on its own: without the weights of removed blocks."""

from __future__ import annotations

import torch
from diffusers import UNet2DConditionModel

from supernet.architecture import (
    TRANSFORMER_LAYER,
    Architecture,
    ArchitectureError,
    BlockId,
    granularity_of,
)
from supernet.growth import copies_of, new_copy
from supernet.inventory import unet_config
from supernet.standalone_unet import StandaloneUNet
from supernet.tracing import meta_unet
from supernet.unet_blocks import block_ids, find_block


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
    standalone = empty_unet(architecture)
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


def empty_unet(architecture: Architecture) -> StandaloneUNet:
    """The standalone UNet of an architecture on torch's meta device, without weights."""
    changed = {str(block): count for block, count in architecture.blocks if count != 1}
    layers = [str(block) for block in architecture if block.kind == TRANSFORMER_LAYER]
    if changed and layers:  # one is named, so that whoever reads this tells layers from blocks
        changed.setdefault(layers[0], 1)
    # On meta no weights are drawn at random only to be replaced.
    with torch.device("meta"):
        return StandaloneUNet.from_config({**architecture.base.values, "multiplicities": changed})


def architecture_of(unet: UNet2DConditionModel) -> Architecture:
    """The architecture that a stock or standalone UNet has, as its configuration says.

    Raises:
        ArchitectureError: if its base has no such blocks.
    """
    multiplicities = unet.config.get("multiplicities") or {}
    counts = {BlockId.parse(text): count for text, count in multiplicities.items()}
    config = unet_config(unet)
    blocks = block_ids(meta_unet(config), granularity_of(counts))
    full = Architecture(config, tuple((block, 1) for block in blocks))
    return full.with_multiplicities(counts)
