"""The outputs of a UNet's stages, and their distance from a teacher's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional as F


@contextmanager
def stage_outputs(unet: UNet2DConditionModel) -> Iterator[list[Tensor]]:
    """A list that the stages' outputs are appended to while the UNet runs, in forward order.

    Stages are the down blocks, the middle and the up blocks, as in BK-SDM. A stage is no part of
    what gradient checkpointing computes again, so that each one is recorded once a pass.
    """
    outputs: list[Tensor] = []

    def record(stage: nn.Module, inputs: Any, output: Any) -> None:
        # Down blocks answer with their output and with what the up blocks take over from them.
        outputs.append(output[0] if isinstance(output, tuple) else output)

    middle = [] if unet.mid_block is None else [unet.mid_block]
    stages = [*unet.down_blocks, *middle, *unet.up_blocks]
    hooks = [stage.register_forward_hook(record) for stage in stages]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def feature_loss(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """The sum over stages of the mean squared error (BK-SDM, arXiv 2305.15798, Sec. 4.2)."""
    errors = [
        F.mse_loss(own.float(), taught.float())
        for own, taught in zip(student, teacher, strict=True)
    ]
    return sum(errors[1:], errors[0])
