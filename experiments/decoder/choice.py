"""Which image decoders a command means, without their weights."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL

from distillation.decoder_architecture import DecoderArchitecture, DecoderError
from distillation.decoder_parts import decoder_parts, latent_size
from distillation.decoders import autoencoder_config
from distillation.tiny_architecture import AnyDecoder, TinyDecoderArchitecture
from experiments.models import SHAPES, pipeline_source
from experiments.unets import CONFIGS, HUB_ID
from latency_tables import BlockSignature
from latency_tables.parsing import parse_json

BUILT_IN = (SHAPES, "sd15", "sd21", "sdxl")

Ratios = float | tuple[float, ...]
TinySizes = tuple[int, tuple[int, ...] | None]  # width and blocks


@dataclass(frozen=True)
class ChosenDecoders:
    """A teacher's decoder and smaller ones.

    Attributes:
        name: of the teacher, as the user gave it.
        arguments: what to type behind ``evounet profile`` to mean them.
        architectures: the teacher's own first.
        batch: pictures per pass.
    """

    name: str
    arguments: str
    architectures: tuple[AnyDecoder, ...]
    batch: int

    @property
    def signatures(self) -> list[BlockSignature]:
        """Of all parts of all of them, each once."""
        parts = chain.from_iterable(
            decoder_parts(each, self.batch, *latent_size(each)) for each in self.architectures
        )
        return list(dict.fromkeys(part.signature for part in parts))


def choose_decoders(
    name: str, ratios: Sequence[Ratios] = (), batch: int = 1, tiny: Sequence[TinySizes] = ()
) -> ChosenDecoders:
    """Find the decoder of a pipeline, narrower ones, and tiny ones in its place.

    Args:
        name: one of :data:`BUILT_IN`, the folder of a pipeline or an autoencoder, or a pipeline's
            Hugging Face id.
        ratios: shares of the channels, of all stages or of each; those of the narrower ones.
        batch: pictures per pass.
        tiny: widths of tiny ones, and blocks of their stages.

    Raises:
        DecoderError: if there is no such decoder, or it cannot be that narrow or tiny.
    """
    where, config = _config(name)
    try:
        teacher = DecoderArchitecture.full(autoencoder_config(config))
    except DecoderError as error:
        raise DecoderError(f"{where}: {error}") from error
    narrower = [teacher.narrowed(ratio) for ratio in ratios]
    own = [TinyDecoderArchitecture.like_taesd(teacher.base, *sizes) for sizes in tiny]
    options = [] if batch == 1 else ["--batch", str(batch)]
    options += chain.from_iterable(("--ratio", ratio_text(ratio)) for ratio in ratios)
    options += chain.from_iterable(("--tiny", tiny_text(each)) for each in own)
    arguments = shlex.join([name, "--decoder", *options])
    architectures: list[AnyDecoder] = [teacher, *narrower, *own]
    return ChosenDecoders(name, arguments, tuple(dict.fromkeys(architectures)), batch)


def parse_ratios(text: str) -> Ratios:
    """``"0.5"`` or ``"1,0.5,0.5,0.25"``.

    Raises:
        DecoderError: if it is neither.
    """
    try:
        shares = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise DecoderError(f"--ratio {text}: write it like 0.5 or 1,0.5,0.5,0.25") from None
    return shares[0] if len(shares) == 1 else shares


def ratio_text(ratio: Ratios) -> str:
    """The inverse of :func:`parse_ratios`."""
    return ",".join(f"{each:g}" for each in (ratio if isinstance(ratio, tuple) else (ratio,)))


def parse_tiny(text: str) -> TinySizes:
    """``"32"``, or with blocks of every stage ``"32:3,3,3,1"``.

    Raises:
        DecoderError: if it is neither.
    """
    width, colon, blocks = text.partition(":")
    try:
        return int(width), tuple(map(int, blocks.split(","))) if colon else None
    except ValueError:
        raise DecoderError(f"--tiny {text}: write it like 32 or 32:3,3,3,1") from None


def tiny_text(architecture: TinyDecoderArchitecture) -> str:
    """What :func:`parse_tiny` understands."""
    return f"{architecture.width}:{','.join(map(str, architecture.blocks))}"


def _config(name: str) -> tuple[str, Mapping[str, Any]]:
    """A configuration, and where it is from."""
    if name in BUILT_IN and name != SHAPES:
        return name, _read(CONFIGS / f"{name}-vae.json")
    path = Path(pipeline_source(name))
    for folder in (path / "vae", path):
        if (folder / "config.json").exists():
            return str(folder / "config.json"), _read(folder / "config.json")
    if not HUB_ID.fullmatch(name) or path.parent.exists():
        raise DecoderError(
            f"unknown decoder '{name}'; give one of {', '.join(BUILT_IN)}, the folder of a "
            "pipeline or an autoencoder, or a Hugging Face id"
        )
    try:
        config: Mapping[str, Any] = AutoencoderKL.load_config(name, subfolder="vae")
    except (OSError, ValueError) as error:
        raise DecoderError(
            f"'{name}' is no folder here, and its vae/config.json cannot be had from the Hugging "
            f"Face Hub ({' '.join(str(error).split())[:200]}); correct the name or go online"
        ) from error
    return name, config


def _read(path: Path) -> Mapping[str, Any]:
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DecoderError(f"{path}: not readable as JSON ({error}); write it again") from error
    kind = value.get("_class_name") if isinstance(value, dict) else None
    if kind != AutoencoderKL.__name__:
        raise DecoderError(
            f"{path}: field '_class_name' is {kind!r}; give the configuration of an AutoencoderKL"
        )
    return dict(value)
