"""The stock pipelines that evounet draws with: Stable Diffusion's and SDXL's."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any, TypeAlias

import diffusers
import transformers
from diffusers import DiffusionPipeline, StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors import SafetensorError
from torch import nn

import distillation.efficient_autoencoder  # noqa: F401 - diffusers loads no class not imported
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
    # An export carries the code of its UNet. None that lies in a folder is run here.
    standalone = StandaloneUNet.__name__ in (index.get("unet") or ())
    options = _OPTIONS[kind] | ({"unet": None} if standalone else {})
    try:
        pipeline = kind.from_pretrained(name_or_folder, use_safetensors=True, **options)
        if standalone:
            unet = StandaloneUNet.from_pretrained(
                name_or_folder, subfolder="unet", use_safetensors=True
            )
            # Made anew: what a pipeline knows of its UNet, it learns when it is made.
            parts = pipeline.components | {"unet": unet}
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
    """Write a pipeline; a UNet that is no stock one has the code of its class beside its weights.

    Stock diffusers loads that with ``trust_remote_code=True``, whether evounet is installed or
    not; :func:`load_pipeline` takes its own class for it.

    Args:
        pipeline: stock but for its UNet, and for its image decoder, whose class has to be
            imported before diffusers loads it.
        folder: where to.
        options: of diffusers' ``save_pretrained``.
    """
    pipeline.save_pretrained(folder, **options)
    if isinstance(pipeline.unet, StandaloneUNet):
        code = Path(standalone_unet.__file__)
        shutil.copy(code, folder / "unet")
        index = folder / "model_index.json"
        value = json.loads(index.read_text(encoding="utf-8"))
        value["unet"] = [code.stem, StandaloneUNet.__name__]
        index.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


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
