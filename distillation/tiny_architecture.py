"""The architecture of a tiny image decoder as a value, and that of any decoder.

A tiny decoder has the layers of TAESD, as diffusers' ``AutoencoderTiny`` has them: residual blocks
of three convolutions with ReLU, nearest-neighbour upsampling, no norms, no attention. It shares no
weight with its teacher. Nothing here needs torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from distillation.decoder_architecture import (
    AutoencoderConfig,
    DecoderArchitecture,
    DecoderError,
    decoder_id,
)

TINY = "tiny"  # kind of such a decoder
WIDTH = 64  # TAESD's
_BLOCKS, _LAST_BLOCKS = 3, 1  # of its stages, of the one at the picture's size
_MOST = 1024


@dataclass(frozen=True)
class TinyDecoderArchitecture:
    """How wide a tiny decoder is, and how deep each of its stages.

    Attributes:
        base: of the autoencoder whose decoder it stands in for; as many stages as that has.
        width: channels of all stages.
        blocks: residual blocks of every stage, in forward order, 1 or more.

    Raises:
        DecoderError: if the base is none of those that are supported, or the sizes cannot be.
    """

    base: AutoencoderConfig
    width: int
    blocks: tuple[int, ...]

    def __post_init__(self) -> None:
        stages = len(DecoderArchitecture.full(self.base).channels)
        if not 1 <= self.width <= _MOST:
            raise DecoderError(f"width is {self.width}; give 1 to {_MOST} channels")
        if len(self.blocks) != stages:
            raise DecoderError(
                f"blocks are {list(self.blocks)}; give {stages}, one for every stage"
            )
        for stage, count in enumerate(self.blocks):
            if count < 1:
                raise DecoderError(f"stage {stage} has {count} blocks; give 1 or more")

    @classmethod
    def like_taesd(
        cls, base: AutoencoderConfig, width: int = WIDTH, blocks: tuple[int, ...] | None = None
    ) -> TinyDecoderArchitecture:
        """With TAESD's sizes where none are given: 64 channels, three blocks a stage, one last."""
        stages = len(DecoderArchitecture.full(base).channels)
        return cls(base, width, blocks or (_BLOCKS,) * (stages - 1) + (_LAST_BLOCKS,))

    @cached_property
    def id(self) -> str:
        """See :attr:`DecoderArchitecture.id`."""
        return decoder_id(self.base, self.sizes)

    @cached_property
    def sizes(self) -> dict[str, Any]:
        """All but the base, as a configuration has it."""
        return {"kind": TINY, "width": self.width, "blocks": list(self.blocks)}

    def __str__(self) -> str:
        return f"tiny, {self.width} channels, blocks {'-'.join(map(str, self.blocks))}"


AnyDecoder: TypeAlias = DecoderArchitecture | TinyDecoderArchitecture


def decoder_of_sizes(base: AutoencoderConfig, sizes: Mapping[str, Any]) -> AnyDecoder:
    """From a base and the sizes of a decoder of either kind.

    Raises:
        DecoderError: naming what is unknown, missing, no whole number, or cannot be.
    """
    if "kind" not in sizes:
        return DecoderArchitecture.of_sizes(base, sizes)
    if sizes.keys() != {"kind", "width", "blocks"} or sizes["kind"] != TINY:
        raise DecoderError(
            f"sizes {json.dumps(dict(sizes))}: a decoder of a kind is "
            f'{{"kind": "{TINY}", "width": 64, "blocks": [3, 3, 3, 1]}}'
        )
    width, blocks = sizes["width"], sizes["blocks"]
    whole = isinstance(blocks, list) and all(type(each) is int for each in [width, *blocks])
    if not whole:
        raise DecoderError(f"width {width!r}, blocks {blocks!r}: give whole numbers")
    return TinyDecoderArchitecture(base, width, tuple(blocks))
