"""The stock pipelines that evounet draws with: Stable Diffusion's and SDXL's."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import diffusers
import transformers
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors import SafetensorError
from torch import nn

from distillation import efficient_autoencoder
from distillation.decoders import decoder_of
from distillation.efficient_autoencoder import EfficientAutoencoderKL
from supernet import standalone_unet
from supernet.standalone_unet import StandaloneUNet

Pipeline: TypeAlias = StableDiffusionPipeline | StableDiffusionXLPipeline

# What each kind is loaded with: pictures are judged as they were drawn, on every worker.
_OPTIONS: dict[type[Pipeline], dict[str, Any]] = {
    StableDiffusionPipeline: {"safety_checker": None},
    StableDiffusionXLPipeline: {"add_watermarker": False},
}
_TEXT_PARTS = ("tokenizer", "text_encoder", "tokenizer_2", "text_encoder_2")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
# Parts that may be of evounet's own classes, each with the file that is its code.
_OWN_PARTS: dict[str, tuple[type[UNet2DConditionModel | AutoencoderKL], ModuleType]] = {
    "unet": (StandaloneUNet, standalone_unet),
    "vae": (EfficientAutoencoderKL, efficient_autoencoder),
}
# What diffusers and safetensors raise for folders and files that are not what they should be.
_UNUSABLE = (OSError, SafetensorError, KeyError, RuntimeError, TypeError, ValueError)


def load_pipeline(name_or_folder: str) -> Pipeline:
    """Load a pipeline of either kind in fp32, frozen and in evaluation mode.

    Raises:
        ValueError: if there is none under that name, its files are damaged, or it is of another
            kind.
    """
    if not Path(name_or_folder).is_dir() and not _HUB_ID.fullmatch(name_or_folder):
        raise ValueError(f"{name_or_folder}: no such folder; give a Stable Diffusion pipeline's")
    # Their bars and warnings would stand between the lines of a message.
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    try:
        index = DiffusionPipeline.load_config(name_or_folder)
        class_name = index["_class_name"]
    except _UNUSABLE as error:
        raise _unusable(name_or_folder, error) from error
    kind = _kind(name_or_folder, class_name)
    # Such a pipeline carries the code of its own parts. None that lies in a folder is run here.
    own = [part for part, (own, _) in _OWN_PARTS.items() if own.__name__ in (index.get(part) or ())]
    try:
        pipeline = kind.from_pretrained(
            name_or_folder, use_safetensors=True, **_OPTIONS[kind], **dict.fromkeys(own)
        )
        if own:
            # Made anew: what a pipeline knows of its parts, it learns when it is made.
            parts = pipeline.components | {part: _load_own(name_or_folder, part) for part in own}
            pipeline = kind.from_pipe(pipeline, **(_OPTIONS[kind] | parts))
    except _UNUSABLE as error:
        raise _unusable(name_or_folder, error) from error
    missing = [part for part in _TEXT_PARTS if getattr(pipeline, part, pipeline) is None]
    if missing:
        raise ValueError(
            f"{name_or_folder}: this pipeline has no {' and no '.join(missing)}, without which "
            "prompts cannot be encoded as they were for its UNet; give a complete one"
        )
    for module in pipeline.components.values():
        if isinstance(module, nn.Module):
            module.float().eval().requires_grad_(False)
    return pipeline


def save_pipeline(pipeline: Pipeline, folder: Path, **options: Any) -> None:
    """Write a pipeline; parts of evounet's own classes have their code beside their weights.

    Stock diffusers loads those with ``trust_remote_code=True``, whether evounet is installed or
    not; :func:`load_pipeline` takes its own classes for them.

    Args:
        pipeline: stock but for its UNet and image decoder.
        folder: where to.
        options: of diffusers' ``save_pretrained``.
    """
    pipeline.save_pretrained(folder, **options)
    index = folder / "model_index.json"
    value = json.loads(index.read_text(encoding="utf-8"))
    for part in own_parts(pipeline):
        own, module = _OWN_PARTS[part]
        code = Path(str(module.__file__))
        shutil.copy(code, folder / part)
        value[part] = [code.stem, own.__name__]
    index.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def own_parts(pipeline: Pipeline) -> tuple[str, ...]:
    """Names of the parts that are of evounet's own classes."""
    parts = pipeline.components
    return tuple(name for name, (own, _) in _OWN_PARTS.items() if isinstance(parts[name], own))


def _load_own(name_or_folder: str, part: str) -> nn.Module:
    own = _OWN_PARTS[part][0]
    if own is EfficientAutoencoderKL:  # its sizes are checked before anything is made of them
        decoder_of(own.load_config(name_or_folder, subfolder=part))
    loaded: nn.Module = own.from_pretrained(name_or_folder, subfolder=part, use_safetensors=True)
    return loaded


def _kind(where: str, class_name: object) -> type[Pipeline]:
    for kind in _OPTIONS:
        if kind.__name__ == class_name:
            return kind
    kinds = " and ".join(kind.__name__ for kind in _OPTIONS)
    raise ValueError(
        f"{where}: field '_class_name' of model_index.json is {class_name!r}; only {kinds} are "
        "supported, whose UNets draw from noise and a prompt alone"
    )


def _unusable(where: str, error: Exception) -> ValueError:
    kind = "folder" if Path(where).exists() else "folder or reachable Hugging Face id"
    reason = " ".join(str(error).split())[:300]
    return ValueError(f"{where}: no usable Stable Diffusion {kind} ({reason})")
