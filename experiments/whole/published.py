"""What the paper measured and found, to stand beside what is measured and found here.

SnapFusion (Li et al., NeurIPS 2023): times on an iPhone 14 Pro (Table 1), and the blocks of its
efficient UNet (Table 3). "Mid" counts diffusers' last down block, its middle and its first up block
together, so which four of its seven ResNets stay is not told.
"""

from __future__ import annotations

from experiments.whole.timing import Times
from supernet.architecture import Architecture, BlockId

STABLE_DIFFUSION = Times(text_encoder_ms=8.0, unet_ms=1_700.0, steps=50, decoder_ms=369.0)
SNAP_FUSION = Times(text_encoder_ms=8.0, unet_ms=230.0, steps=8, decoder_ms=116.0)

EFFICIENT_PARAMETERS = 848_000_000  # as published; Table 3 does not give as many

_HIGHEST_RESOLUTION = tuple(
    BlockId.parse(f"cross_attention {site}")
    for site in ("down.0/0", "down.0/1", "up.3/0", "up.3/1", "up.3/2")
)
_RESNETS = tuple(BlockId.parse(f"resnet {site}") for site in ("down.2/1", "up.1/2"))
_OF_MID = tuple(BlockId.parse(f"resnet {site}") for site in ("down.3/1", "mid/1", "up.0/2"))
_DOUBLED = tuple(BlockId.parse(f"cross_attention up.1/{i}") for i in range(3))

REMOVED = (*_HIGHEST_RESOLUTION, *_RESNETS, *_OF_MID)


def efficient(full: Architecture) -> Architecture:
    """The paper's Table 3 on a UNet with Stable Diffusion's blocks.

    Raises:
        ArchitectureError: if a UNet has no such blocks.
    """
    return full.without(REMOVED).with_multiplicities(dict.fromkeys(_DOUBLED, 2))


def without_highest_attention(full: Architecture) -> Architecture:
    """The same but for all that it removes besides the cross-attention at the highest resolution.

    Its parameters come next to the published number.
    """
    return full.without(_HIGHEST_RESOLUTION)
