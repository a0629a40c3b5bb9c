"""A+: copies that own their weights, placed behind the block that they come from.

SnapFusion adds "copies of the blocks" (Sec. 3.2). A copy may also begin as the identity: its
output is silenced, so that the UNet computes what it did and learns from there. A ResNet that
changes its number of channels cannot be followed by a copy of itself; what follows it has equal
channels, takes over the weights that fit, and always begins as the identity.

The copies of a block are kept in the block itself, under ``copies``, so that all other weights of
a grown UNet bear the names of stock diffusers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn

from supernet.architecture import Architecture
from supernet.standalone_unet import changes_shape, follower
from supernet.unet_blocks import find_block

Growth = Literal["copy", "identity"]

_COPIES = "copies"
_COPIED = re.compile(rf"(?P<block>.+?)\.{_COPIES}\.(?P<number>\d+)\.(?P<weight>.+)")
# Of a silenced weight these begin at zero. What is a scale (Adam's second moment, its step
# counter) stays the source's: the gradients to come are as large as the source's are.
_ZEROED = ("weight", "ema", "optimizer/exp_avg")


def copies_of(block: nn.Module) -> list[nn.Module]:
    """The copies that a block of a grown UNet has, in the order in which they follow it."""
    return list(getattr(block, _COPIES, ()))


def new_copy(source: nn.Module, growth: Growth = "copy") -> nn.Module:
    """What is placed behind ``source`` when it is added once more.

    Args:
        source: a ResNet, a cross-attention block or a transformer layer of a diffusers UNet.
        growth: whether the copy computes what its source does, or nothing at first.

    Returns:
        The same kind of block with equal channels and weights of its own.
    """
    with torch.device("meta"):  # no weights at random: all are to come
        made = follower(source)
    made._modules.pop(_COPIES, None)
    weights = {
        name: _inherited("weight", name, source.get_parameter(name), weight.shape, source, growth)
        for name, weight in made.named_parameters()
    }
    made.load_state_dict(weights, assign=True)
    for name, weight in made.named_parameters():
        weight.requires_grad_(source.get_parameter(name).requires_grad)
    return made


def grow(unet: UNet2DConditionModel, architecture: Architecture, growth: Growth = "copy") -> None:
    """Give the blocks of a UNet the copies that an architecture runs and they have not yet.

    Copies that are there already, and the stock part of the UNet, stay as they are.
    """
    for block, count in architecture.changes:
        if count > 1:
            source = find_block(unet, block)
            missing = count - 1 - len(copies_of(source))
            _add_copies(source, [new_copy(source, growth) for _ in range(missing)])


def load_weights(unet: UNet2DConditionModel, weights: Mapping[str, Tensor]) -> None:
    """Load the weights of a supernet, stock or grown, into a UNet of the same base.

    Afterwards the UNet has the copies that the weights have, and no others.

    Raises:
        RuntimeError: if they are of another UNet.
    """
    numbers: dict[str, int] = {}
    for name in weights:
        if match := _COPIED.fullmatch(name):
            numbers[match["block"]] = max(numbers.get(match["block"], 0), int(match["number"]) + 1)
    for path, module in list(unet.named_modules()):
        if copies_of(module) and path not in numbers:
            del module._modules[_COPIES]
    for path, number in numbers.items():
        source = unet.get_submodule(path)
        copies = copies_of(source)[:number]
        source._modules.pop(_COPIES, None)
        _add_copies(source, [*copies, *(new_copy(source) for _ in range(number - len(copies)))])
    unet.load_state_dict(weights)


def inherit(
    state: Mapping[str, Tensor], unet: UNet2DConditionModel, growth: Growth
) -> dict[str, Tensor]:
    """The state of a training, and what the copies that it does not know yet begin with.

    A copy takes over all that the optimizer and the average have of its source, so that Adam's
    moments do not start anew; silenced weights, and what points from them in a direction, begin
    at zero.

    Args:
        state: by ``KIND/NAME``: weights (``weight``), their average (``ema``) and what the
            optimizer keeps (``optimizer/exp_avg``, ``optimizer/step``, ...); see
            :func:`supernet.checkpoint.save_training_state`.
        unet: the grown UNet.
        growth: how its copies began.
    """
    complete = dict(state)
    kinds: dict[str, list[str]] = {}
    for key in state:
        kind, _, name = key.rpartition("/")
        kinds.setdefault(name, []).append(kind)
    for name, parameter in unet.named_parameters():
        match = _COPIED.fullmatch(name)
        if match is None or name in kinds:
            continue
        source, weight = unet.get_submodule(match["block"]), match["weight"]
        for kind in kinds.get(f"{match['block']}.{weight}", ()):
            value = state[f"{kind}/{match['block']}.{weight}"]
            complete[f"{kind}/{name}"] = _inherited(
                kind, weight, value, parameter.shape, source, growth
            )
    return complete


def _inherited(
    kind: str, name: str, value: Tensor, shape: torch.Size, source: nn.Module, growth: Growth
) -> Tensor:
    """What a copy has of one kind for its weight ``name`` of this shape, from the source's."""
    silent = growth == "identity" or changes_shape(source)
    value = value.detach()
    if not (silent and kind in _ZEROED and name.rpartition(".")[0] in _last_layers(source)):
        for axis, size in enumerate(source.get_parameter(name).shape):
            # The channels of which a follower has more or fewer; a factored moment has none.
            if size != shape[axis] and value.dim() > axis and value.shape[axis] == size:
                places = torch.arange(shape[axis], device=value.device) % size
                value = value.index_select(axis, places)
        return value.clone()
    return torch.zeros_like(value)


def _last_layers(block: nn.Module) -> Iterable[str]:
    """The layers whose output a block adds to its input."""
    if isinstance(block, ResnetBlock2D):
        return ("conv2",)
    if isinstance(block, Transformer2DModel):
        return ("proj_out",)
    return ("attn1.to_out.0", "attn2.to_out.0", "ff.net.2")


def _add_copies(source: nn.Module, copies: list[nn.Module]) -> None:
    if copies:
        source._modules[_COPIES] = nn.ModuleList([*copies_of(source), *copies])
