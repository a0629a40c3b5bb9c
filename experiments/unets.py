"""Which UNet a command means: a built-in one, a file or folder, or one of the Hugging Face Hub."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from diffusers import UNet2DConditionModel

from experiments.shapes.tokenizer import CONTEXT_LENGTH
from latency_tables import BlockSignature
from latency_tables.parsing import parse_json
from supernet.architecture import (
    Architecture,
    ArchitectureError,
    BlockId,
    Granularity,
    UNetConfig,
    granularity_of,
)
from supernet.inventory import GUIDED_BATCH, take_inventory, unet_config
from supernet.parts import Inventory
from supernet.spec import Spec, read_spec

CONFIGS = Path(__file__).parent / "configs"
BUILT_IN = {
    "shapes": CONTEXT_LENGTH,
    "sd15": 77,
    "sd21": 77,
    "sdxl": 77,
}  # name to tokens of a prompt
_CLIP_CONTEXT_LENGTH = 77

_CLASSES = ("UNet2DConditionModel", "StandaloneUNet")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class UNetSourceError(ValueError):
    """A name, file or folder that leads to no UNet."""


@dataclass(frozen=True)
class ChosenUNet:
    """A UNet that a command is about, without weights.

    Attributes:
        name: as the user gave it.
        arguments: what to type behind ``evounet profile`` to mean it.
        inventory: of its base.
        architecture: the base's own, or what a search found.
        spec: of what a search found, where the name leads to one.
    """

    name: str
    arguments: str
    inventory: Inventory
    architecture: Architecture
    spec: Spec | None = None

    @property
    def signatures(self) -> list[BlockSignature]:
        """Of all parts that a search can ask for, shortcuts of removed ResNets included."""
        return self.inventory.all_signatures()


def choose_unet(
    name: str,
    *,
    batch: int = GUIDED_BATCH,
    context_length: int | None = None,
    granularity: Granularity | None = None,
) -> ChosenUNet:
    """Find a UNet and analyse it.

    Args:
        name: ``shapes``, ``sd15``, ``sd21`` or ``sdxl``; a ``config.json`` or ``spec.json``; the
            folder of a UNet, a pipeline or a run; or a pipeline's Hugging Face id.
        batch: pictures per forward pass; 2 is one picture under guidance.
        context_length: tokens of a prompt; by default what the pipeline's tokenizer says, that of
            the built-in UNet with the same configuration, or 77.
        granularity: what counts as a block; by default what the blocks of a found UNet are, else
            ``block``.

    Raises:
        UNetSourceError: if there is no such UNet, or its file is damaged.
        ArchitectureError: if it cannot be built or analysed.
    """
    source = _find(name)
    try:
        config = unet_config(source.config)
        tokens = context_length or source.context_length or _usual_context_length(config)
        counts = {BlockId.parse(block): n for block, n in source.multiplicities.items()}
        inventory = take_inventory(
            config,
            granularity=granularity or granularity_of(counts),
            batch=batch,
            context_length=tokens,
        )
        changed = {block: n for block, n in counts.items() if n != 1}
        architecture = inventory.full().with_multiplicities(changed)
        inventory.check(architecture)
    except ArchitectureError as error:
        raise ArchitectureError(f"{name}: {error}") from error
    options = [] if batch == GUIDED_BATCH else ["--batch", str(batch)]
    options += [] if context_length is None else ["--context-length", str(context_length)]
    options += [] if granularity is None else ["--granularity", granularity]
    return ChosenUNet(name, shlex.join([name, *options]), inventory, architecture, source.spec)


@dataclass(frozen=True)
class _Source:
    """What the files say: a diffusers configuration and how often blocks run, 1 if not named."""

    config: Mapping[str, Any]
    multiplicities: Mapping[str, int] = field(default_factory=dict)
    context_length: int | None = None
    spec: Spec | None = None


def _find(name: str) -> _Source:
    path = Path(name)
    if name in BUILT_IN:
        return _Source(_read_json(CONFIGS / f"{name}.json"), context_length=BUILT_IN[name])
    if path.is_file():
        return _from_file(path)
    if path.is_dir():
        return _from_folder(path)
    # What looks like a file that is not there is not asked for on the Hub.
    if HUB_ID.fullmatch(name) and not path.parent.exists():
        return _from_hub(name)
    raise UNetSourceError(
        f"unknown UNet '{name}'; give one of {', '.join(BUILT_IN)}, the path of a config.json, "
        "spec.json, UNet, pipeline or run folder, or a Hugging Face id"
    )


def _from_folder(folder: Path) -> _Source:
    for unet in (folder, folder / "unet"):
        if (unet / "config.json").exists():
            source = _from_file(unet / "config.json")
            spec = unet.parent / "spec.json"
            return replace(
                _from_file(spec) if spec.exists() else source,
                context_length=_tokenizer_length(unet.parent),
            )
    raise UNetSourceError(f"{folder}: has neither config.json nor unet/config.json; give another")


def _from_file(path: Path) -> _Source:
    value = _read_json(path)
    if "base" in value and "multiplicities" in value:
        spec = read_spec(path)
        return _Source(spec.base, spec.multiplicities, spec=spec)
    return _checked(value, str(path))


def _from_hub(name: str) -> _Source:
    try:
        config = UNet2DConditionModel.load_config(name, subfolder="unet")
    except (OSError, ValueError) as error:
        raise UNetSourceError(
            f"'{name}' is no file here, and its unet/config.json cannot be had from the Hugging "
            f"Face Hub ({' '.join(str(error).split())}); correct the name, go online, or give the "
            "folder of a downloaded copy"
        ) from error
    return _checked(config, name)


def _checked(config: Mapping[str, Any], where: str) -> _Source:
    """A UNet's configuration; other models' would pass for one, as every setting has a default."""
    name = config.get("_class_name")
    if name not in _CLASSES:
        raise UNetSourceError(
            f"{where}: field '_class_name' is {name!r}; give the configuration of a {_CLASSES[0]}"
        )
    return _Source(config, config.get("multiplicities") or {})


def _tokenizer_length(pipeline: Path) -> int | None:
    path = pipeline / "tokenizer" / "tokenizer_config.json"
    return _read_json(path).get("model_max_length") if path.exists() else None


def _usual_context_length(config: UNetConfig) -> int:
    for name, context_length in BUILT_IN.items():
        if unet_config(_read_json(CONFIGS / f"{name}.json")) == config:
            return context_length
    return _CLIP_CONTEXT_LENGTH


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UNetSourceError(f"{path}: not readable as JSON ({error}); write it again") from error
    if not isinstance(value, dict):
        raise UNetSourceError(f"{path}: is not a JSON object; give a configuration or a spec")
    return value
