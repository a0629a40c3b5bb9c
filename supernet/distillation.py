"""What a teacher adds to the training of a smaller UNet (BK-SDM, arXiv 2305.15798, Sec. 3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

# Feature maps by the name of the stage that hands them on.
Features = dict[str, Tensor]


@dataclass(frozen=True)
class Distillation:
    """A teacher and what is learnt from it.

    Attributes:
        teacher: the base UNet; it is left as it is.
        output: the share of the target that its prediction gives in place of the data, in [0, 1].
        features: the weight of the distance between its feature maps and those of the student, one
            after each stage; 0 leaves them apart.
    """

    teacher: UNet2DConditionModel
    output: float = 1.0
    features: float = 0.0


def predict(
    unet: UNet2DConditionModel,
    noisy: Tensor,
    timestep: Tensor,
    encoder_hidden_states: Tensor,
    *,
    with_features: bool,
) -> tuple[Tensor, Features]:
    """The prediction of a UNet, and the feature maps of its stages, ``(batch, channels, h, w)``.

    Removing or repeating blocks changes no stage's shape, so the feature maps of a UNet and of its
    base can be compared.
    """
    caught: Features = {}

    def catch(name: str) -> Any:
        def hook(module: nn.Module, inputs: object, output: Any) -> None:
            caught[name] = output[0] if isinstance(output, tuple) else output

        return hook

    stages = _stages(unet) if with_features else []
    hooks = [stage.register_forward_hook(catch(name)) for name, stage in stages]
    try:
        return unet(noisy, timestep, encoder_hidden_states).sample, caught
    finally:
        for hook in hooks:
            hook.remove()


def _stages(unet: UNet2DConditionModel) -> list[tuple[str, nn.Module]]:
    """The stages of a UNet in forward order; its middle may be missing."""
    down = [(f"down.{i}", stage) for i, stage in enumerate(unet.down_blocks)]
    up = [(f"up.{i}", stage) for i, stage in enumerate(unet.up_blocks)]
    mid = [] if unet.mid_block is None else [("mid", unet.mid_block)]
    return down + mid + up


def feature_distance(student: Features, teacher: Features) -> Tensor:
    """Mean over the stages of the squared distance, in units of the teacher's mean square.

    The unit makes stages comparable, whose features differ in scale by orders of magnitude.
    """
    distances = []
    for name, taught in teacher.items():
        unit = taught.float().square().mean()
        distances.append((student[name].float() - taught.float()).square().mean() / unit)
    return torch.stack(distances).mean()
