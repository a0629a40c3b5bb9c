"""The architecture of an image decoder as a value: how wide and how deep each of its stages is.

A stage is one resolution of diffusers' ``AutoencoderKL`` decoder, counted in the order in which
latents pass them, after a middle part at the latents' own resolution. Nothing here needs torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from supernet.architecture import ModelConfig

MID_RESNETS = 2  # of diffusers' decoders

# Settings of AutoencoderKL that decide what a decoder consists of, with what they must be.
_SUPPORTED = {
    "up_block_types": "UpDecoderBlock2D",
    "act_fn": "silu",
    "shift_factor": None,
    "latents_mean": None,
    "latents_std": None,
}
_COUNTS = ("in_channels", "out_channels", "latent_channels", "layers_per_block", "norm_num_groups")


class DecoderError(ValueError):
    """A decoder that cannot be what it claims to be."""


class AutoencoderConfig(ModelConfig):
    """The configuration of a base ``AutoencoderKL``."""


@dataclass(frozen=True)
class DecoderArchitecture:
    """How wide and how deep every stage of a decoder is.

    Attributes:
        base: of the autoencoder whose decoder it stands in for.
        channels: of every stage, in forward order; a multiple of the base's GroupNorm groups, so
            that there are as many groups as in the base. The middle part is as wide as stage 0.
        resnets: of every stage, 1 or more: the first one changes channels.
        mid_resnets: of the middle part, 0 to 2.
        attention: whether the middle part has its self-attention.

    Raises:
        DecoderError: if the base is none of those that are supported, or has not as many stages,
            channels or ResNets.
    """

    base: AutoencoderConfig
    channels: tuple[int, ...]
    resnets: tuple[int, ...]
    mid_resnets: int = MID_RESNETS
    attention: bool = True

    def __post_init__(self) -> None:
        _check_supported(self.base)
        widths, most = _base_channels(self.base), _base_resnets(self.base)
        groups = self.base.values["norm_num_groups"]
        for name, given in (("channels", self.channels), ("resnets", self.resnets)):
            if len(given) != len(widths):
                raise DecoderError(
                    f"{name} are {list(given)}; give {len(widths)}, one for every stage"
                )
        for stage, (width, most_of_it) in enumerate(zip(self.channels, widths, strict=True)):
            if width % groups or not groups <= width <= most_of_it:
                raise DecoderError(
                    f"stage {stage} has {width} channels; give a multiple of {groups}, the groups "
                    f"of its norms, up to the base's {most_of_it}"
                )
        for stage, count in enumerate(self.resnets):
            if not 1 <= count <= most:
                raise DecoderError(f"stage {stage} has {count} ResNets; give 1 to {most}")
        if not 0 <= self.mid_resnets <= MID_RESNETS:
            raise DecoderError(f"mid_resnets is {self.mid_resnets}; give 0 to {MID_RESNETS}")
        if self.attention and not _base_attention(self.base):
            raise DecoderError("attention is true; the base has none: set it to false")

    @classmethod
    def full(cls, base: AutoencoderConfig) -> DecoderArchitecture:
        """The base's own decoder."""
        _check_supported(base)
        channels = _base_channels(base)
        resnets = (_base_resnets(base),) * len(channels)
        return cls(base, channels, resnets, attention=_base_attention(base))

    def narrowed(self, ratios: float | Sequence[float]) -> DecoderArchitecture:
        """With a share of the channels, each stage's rounded to whole channels a group.

        Args:
            ratios: above 0, up to 1; one for all stages, or one for each.

        Raises:
            DecoderError: if there are not as many ratios as stages, or one is out of its range.
        """
        shares = (ratios,) * len(self.channels) if isinstance(ratios, int | float) else ratios
        if len(shares) != len(self.channels):
            raise DecoderError(
                f"ratios are {list(shares)}; give one, or {len(self.channels)}, one for every stage"
            )
        for share in shares:
            if not 0 < share <= 1:
                raise DecoderError(f"ratio {share:g}: give a share above 0, up to 1")
        groups = self.base.values["norm_num_groups"]
        channels = tuple(
            groups * max(1, round(width * share / groups))
            for width, share in zip(self.channels, shares, strict=True)
        )
        return self._with(channels=channels)

    def shortened(self, resnets: int, mid_resnets: int = MID_RESNETS) -> DecoderArchitecture:
        """With at most so many ResNets in every stage, and in the middle part."""
        return self._with(
            resnets=tuple(min(count, resnets) for count in self.resnets),
            mid_resnets=min(self.mid_resnets, mid_resnets),
        )

    def without_attention(self) -> DecoderArchitecture:
        return self._with(attention=False)

    @cached_property
    def id(self) -> str:
        """Ten hexadecimal digits: the same for the same base and sizes, anywhere."""
        return decoder_id(self.base, self.sizes)

    @cached_property
    def sizes(self) -> dict[str, Any]:
        """All but the base, as a configuration has it; see :meth:`of_sizes`."""
        return _as_lists({field.name: getattr(self, field.name) for field in fields(self)[1:]})

    @classmethod
    def of_sizes(cls, base: AutoencoderConfig, sizes: Mapping[str, Any]) -> DecoderArchitecture:
        """From a base and :attr:`sizes`; what these leave out is as in the base.

        Raises:
            DecoderError: naming what is unknown, no whole number, or cannot be.
        """
        own = cls.full(base).sizes
        for name, value in sizes.items():
            if name not in own:
                raise DecoderError(f"a decoder has no '{name}'; there are: {', '.join(own)}")
            if not _same_kind(value, own[name]):
                raise DecoderError(f"{name} is {value!r}; write it like {json.dumps(own[name])}")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in {**own, **sizes}.items()
        }
        return cls(base, **values)

    def to_json(self) -> dict[str, Any]:
        """A JSON object: ``base`` (the autoencoder's configuration) and the :attr:`sizes`."""
        return {"base": self.base.values, **self.sizes}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> DecoderArchitecture:
        """The inverse of :meth:`to_json`.

        Raises:
            DecoderError: if a field is missing, unknown, or cannot be.
        """
        sizes = dict(value)
        base = sizes.pop("base", None)
        if not isinstance(base, Mapping):
            raise DecoderError("a decoder needs the field 'base', an object")
        return cls.of_sizes(AutoencoderConfig.of(base), sizes)

    def __str__(self) -> str:
        channels = "-".join(map(str, self.channels))
        resnets = "-".join(map(str, (self.mid_resnets, *self.resnets)))
        return f"channels {channels}, ResNets {resnets}, {'' if self.attention else 'no '}attention"

    def _with(self, **changes: Any) -> DecoderArchitecture:
        return DecoderArchitecture.of_sizes(self.base, {**self.sizes, **_as_lists(changes)})


def decoder_id(base: AutoencoderConfig, sizes: Mapping[str, Any]) -> str:
    """Ten hexadecimal digits for a decoder."""
    return hashlib.sha256(f"{base.text}{sizes}".encode()).hexdigest()[:10]


def _as_lists(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}


def _same_kind(value: object, example: object) -> bool:
    """Whether it is a bool, a whole number or a list of whole numbers as the example is."""
    if isinstance(example, list):
        return isinstance(value, list) and all(type(each) is int for each in value)
    return type(value) is type(example)


def _base_channels(base: AutoencoderConfig) -> tuple[int, ...]:
    return tuple(reversed(base.values["block_out_channels"]))


def _base_resnets(base: AutoencoderConfig) -> int:
    return int(base.values["layers_per_block"]) + 1


def _base_attention(base: AutoencoderConfig) -> bool:
    return bool(base.values.get("mid_block_add_attention", True))


def _check_supported(base: AutoencoderConfig) -> None:
    """See that a base is one whose decoder can be built smaller."""
    for name in (*_COUNTS, "block_out_channels"):
        value = base.values.get(name)
        numbers = value if name == "block_out_channels" else [value]
        least = 0 if name == "layers_per_block" else 1
        fits = isinstance(numbers, list) and all(type(n) is int and n >= least for n in numbers)
        if not fits or not numbers:
            raise DecoderError(f"{name} of the base is {value!r}; give an AutoencoderKL's")
    for name, supported in _SUPPORTED.items():
        value = base.values.get(name, supported)
        for each in value if isinstance(value, list) else [value]:
            if each != supported:
                raise DecoderError(f"{name} of the base is {each!r}; only {supported} is supported")
