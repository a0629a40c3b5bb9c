"""What the latency of a block depends on: the key of a table row."""

from __future__ import annotations

from dataclasses import dataclass, fields

# What a profiler can build and time by itself.
MODULE_KINDS = (
    "resnet",
    "cross_attention",
    "self_attention",
    "shortcut",
    "downsample",
    "upsample",
    "conv_in",
    "conv_out",
    "time_embedding",
    "text_time_embedding",
    "skip_concat",
    "tiny_block",
)
KINDS = (*MODULE_KINDS, "overhead")
_AT_LEAST_ONE = ("batch", "in_channels")


@dataclass(frozen=True, order=True, slots=True)
class BlockSignature:
    """One piece of a diffusers UNet or image decoder, by the sizes that decide how long it takes.

    The kinds and what they stand for:

    - ``resnet``: ``ResnetBlock2D``, with its 1x1 ``conv_shortcut`` where channels differ; in an
      image decoder, which knows no timestep, temb_channels is 0.
    - ``cross_attention``: ``Transformer2DModel``; its head dimension is in_channels // heads.
    - ``self_attention``: the ``Attention`` in the middle of an image decoder, with its GroupNorm.
    - ``shortcut``: a 1x1 convolution alone, what is left of a removed ResNet that changes channels,
      or an image decoder's first layer.
    - ``downsample``: ``Downsample2D`` with its 3x3 convolution of stride 2.
    - ``upsample``: ``Upsample2D``, nearest neighbour to twice the size, then a 3x3 convolution.
    - ``conv_in``: the first 3x3 convolution.
    - ``conv_out``: GroupNorm (left out where norm_groups is 0), SiLU and the last 3x3 convolution.
    - ``time_embedding``: sinusoidal ``Timesteps`` of in_channels, then ``TimestepEmbedding`` to
      temb_channels.
    - ``text_time_embedding``: SDXL's ``TimestepEmbedding`` of pooled prompt and picture size, from
      in_channels to temb_channels.
    - ``skip_concat``: ``torch.cat`` of in_channels and out_channels - in_channels channels.
    - ``tiny_block``: diffusers' ``AutoencoderTinyBlock``, three 3x3 convolutions with ReLU and what
      comes in added, of a tiny image decoder.
    - ``overhead``: what a whole pass takes beyond its parts, as calibration fitted it; channels
      are those of ``conv_in``, the rest that of its blocks.

    Attributes:
        kind: one of :data:`KINDS`.
        batch: pictures per forward pass, 1 or more; 2 is one picture under guidance.
        height: of the input feature map, in its own pixels. This and all that follows is 0 where
            it does not apply to the kind.
        width: likewise.
        in_channels: of the input feature map, 1 or more.
        out_channels: of the output feature map.
        temb_channels: width of the time embedding.
        heads: attention heads.
        transformer_layers: transformer blocks, one after the other.
        context_length: tokens of ``encoder_hidden_states``.
        context_width: channels of ``encoder_hidden_states``.
        linear_projection: 1 where a transformer projects by linear layers, 0 by 1x1 convolutions.
        norm_groups: groups of the GroupNorms.

    Raises:
        ValueError: naming the field that is out of its range.
    """

    kind: str
    batch: int
    height: int
    width: int
    in_channels: int
    out_channels: int
    temb_channels: int = 0
    heads: int = 0
    transformer_layers: int = 0
    context_length: int = 0
    context_width: int = 0
    linear_projection: int = 0
    norm_groups: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind {self.kind!r} is unknown; use one of {', '.join(KINDS)}")
        for name in SIGNATURE_FIELDS[1:]:
            smallest = 1 if name in _AT_LEAST_ONE else 0
            if getattr(self, name) < smallest:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be {smallest} or more")
        if self.linear_projection > 1:
            raise ValueError(f"linear_projection is {self.linear_projection}; it must be 0 or 1")

    def __str__(self) -> str:
        channels = f"{self.in_channels}->{self.out_channels}"
        return f"{self.kind} {channels} @ {self.height}x{self.width} b{self.batch}"

    @property
    def details(self) -> str:
        """What ``str()`` leaves out: ``temb_channels=256, norm_groups=32``; only what applies."""
        applying = ((name, getattr(self, name)) for name in SIGNATURE_FIELDS[6:])
        return ", ".join(f"{name}={value}" for name, value in applying if value)

    @property
    def description(self) -> str:
        """All of it: ``str()``, and what that leaves out in brackets."""
        return f"{self} ({self.details})" if self.details else str(self)


SIGNATURE_FIELDS = tuple(field.name for field in fields(BlockSignature))
