"""FID and KID: how far a set of pictures is from another, by torchmetrics."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance, NoTrainInceptionV3
from torchmetrics.image.kid import KernelInceptionDistance

# What is seen of pictures ``(n, 3, height, width)`` in [0, 1]: one row ``(n, width)`` each.
Features = Callable[[Tensor], Tensor]

_BATCH = 32
_KID_SUBSETS, _KID_SUBSET_SIZE = 100, 1000  # torchmetrics' own


@dataclass(frozen=True)
class SetDistance:
    """Of drawn pictures from real ones; 0 for sets that are alike.

    Comparable between sets of one size and the same features alone: FID falls with the number of
    pictures, and both have their features' units.

    Attributes:
        fid: between normal distributions fitted to the features (Heusel et al., 2017).
        kid: an unbiased estimate (Bińkowski et al., 2018), below 0 by chance.
    """

    fid: float
    kid: float


def set_distance(reference: Tensor, drawn: Tensor) -> SetDistance:
    """FID and KID of drawn from real pictures.

    Args:
        reference: features of the real ones, ``(m, width)`` with m >= 2.
        drawn: of the drawn ones, ``(n, width)`` with n >= 2.
    """
    size = min(_KID_SUBSET_SIZE, len(reference), len(drawn))
    with warnings.catch_warnings():  # of its memory, which is that of the features given
        warnings.simplefilter("ignore", UserWarning)
        kid = KernelInceptionDistance(_AsTheyAre(reference.shape[1]), _KID_SUBSETS, size)
    fid = FrechetInceptionDistance(_AsTheyAre(reference.shape[1]))
    for metric in (fid, kid):
        metric.update(reference.double().cpu(), real=True)
        metric.update(drawn.double().cpu(), real=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # of the subsets
        kid_mean, _ = kid.compute()
    return SetDistance(fid.compute().item(), kid_mean.item())


class _AsTheyAre(nn.Identity):
    """For torchmetrics, which looks at pictures itself: features that are there already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


def inception_features() -> Features:
    """Those of published FIDs: the 2048 of Inception v3 with its weights of 2015.

    Raises:
        ValueError: if ``torch-fidelity``, which has the model, or its weights are not there.
    """
    try:
        inception = NoTrainInceptionV3("inception-v3-compat", ["2048"])
    except ModuleNotFoundError as error:
        raise ValueError(
            "comparison.features = 'inception' needs torch-fidelity: pip install torch-fidelity, "
            "or take comparison.features = 'judge'"
        ) from error
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"Inception's weights cannot be loaded ({' '.join(str(error).split())[:200]}); put "
            "weights-inception-2015-12-05-6726825d.pth of torch-fidelity's releases into "
            f"{torch.hub.get_dir()}/checkpoints, or take comparison.features = 'judge'"
        ) from error

    @torch.no_grad()
    def features(images: Tensor) -> Tensor:
        pixels = (images * 255).round().to(torch.uint8)
        parts: list[Tensor] = [inception(chunk) for chunk in pixels.split(_BATCH)]
        return torch.cat(parts)

    return features
