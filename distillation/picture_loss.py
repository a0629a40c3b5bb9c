"""How far a decoder's pictures are from its teacher's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

LpipsNet = Literal["alex", "vgg", "squeeze"]

# Of pictures and their targets ``(n, 3, height, width)`` in about [-1, 1], a scalar.
Distance = Callable[[Tensor, Tensor], Tensor]


class LossSettings(BaseModel):
    """What is minimised: a weighted sum.

    Attributes:
        mse: weight of the mean squared error, the paper's only term (SnapFusion, Sec. 3.3).
        lpips: weight of a perceptual distance (Zhang et al., arXiv 1801.03924), 0 for none.
        lpips_net: whose features it compares.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mse: float = Field(1.0, ge=0)
    lpips: float = Field(0.0, ge=0)
    lpips_net: LpipsNet = "vgg"

    @model_validator(mode="after")
    def _something(self) -> LossSettings:
        if self.mse == self.lpips == 0:
            raise ValueError("mse and lpips are both 0: give one of them a weight")
        return self

    def open(self, device: torch.device) -> Distance:
        """The sum; loads what it needs.

        Raises:
            ValueError: if the perceptual distance's network is not there.
        """
        if not self.lpips:
            return lambda pictures, targets: self.mse * F.mse_loss(pictures, targets)
        lpips = open_lpips(self.lpips_net, device)
        return lambda pictures, targets: (
            self.mse * F.mse_loss(pictures, targets) + self.lpips * lpips(pictures, targets)
        )


def open_lpips(net: LpipsNet, device: torch.device) -> Distance:
    """LPIPS by torchmetrics: a mean over pictures, which are clamped to [-1, 1] first.

    Raises:
        ValueError: if the weights of the network are not there and cannot be downloaded.
    """
    try:
        network = LearnedPerceptualImagePatchSimilarity(net_type=net).net.to(device)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"LPIPS needs torchvision's weights of '{net}', which cannot be loaded ({reason}); put "
            f"them into {torch.hub.get_dir()}/checkpoints, or leave LPIPS out (weight 0)"
        ) from error

    def distance(pictures: Tensor, targets: Tensor) -> Tensor:
        each: Tensor = network(pictures.clamp(-1, 1), targets.clamp(-1, 1))
        return each.mean()

    return distance
