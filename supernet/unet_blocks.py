"""Where the removable blocks sit in a diffusers UNet."""

from __future__ import annotations

from diffusers import UNet2DConditionModel
from torch import nn

from supernet.architecture import CROSS_ATTENTION, RESNET, BlockId


def block_ids(unet: UNet2DConditionModel) -> list[BlockId]:
    """The removable blocks of a UNet in forward order."""
    stages = [(f"down.{i}", stage) for i, stage in enumerate(unet.down_blocks)]
    if unet.mid_block is not None:
        stages.append(("mid", unet.mid_block))
    stages += [(f"up.{i}", stage) for i, stage in enumerate(unet.up_blocks)]
    return sorted(
        BlockId(kind, name, index)
        for name, stage in stages
        for kind, attribute in ((RESNET, "resnets"), (CROSS_ATTENTION, "attentions"))
        for index in range(len(getattr(stage, attribute, ())))
    )


def find_block(unet: UNet2DConditionModel, block: BlockId) -> nn.Module:
    path, index = block.module_path
    return _module_list(unet, path)[index]


def replace_block(unet: UNet2DConditionModel, block: BlockId, module: nn.Module) -> None:
    path, index = block.module_path
    _module_list(unet, path)[index] = module


def _module_list(unet: UNet2DConditionModel, path: str) -> nn.ModuleList:
    modules = unet.get_submodule(path)
    assert isinstance(modules, nn.ModuleList)
    return modules
