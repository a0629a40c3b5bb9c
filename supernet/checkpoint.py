"""The state of a training on disk: tensors in safetensors, never a pickle, written atomically."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers.training_utils import EMAModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what AdamW keeps for every weight


class CheckpointError(ValueError):
    """A checkpoint that is damaged or belongs to something else."""


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file so that at any moment the old or the new one is there, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file(
            {name: value.contiguous() for name, value in tensors.items()}, temporary, metadata
        )
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file.

    Raises:
        CheckpointError: naming the file, if it is missing, truncated or no safetensors.
    """
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: cannot be read as safetensors ({error}); copy or train it again"
        ) from error


def save_training_state(
    path: Path,
    step: int,
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    ema: EMAModel,
) -> None:
    """Write weights, their average and the moments of AdamW after ``step`` steps."""
    tensors: dict[str, Tensor] = {}
    for (name, parameter), average in zip(parameters.items(), ema.shadow_params, strict=True):
        tensors[f"weight/{name}"] = parameter.detach()
        tensors[f"ema/{name}"] = average
        # A block that every step so far has dropped has no moments yet.
        for moment, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{moment}/{name}"] = value
    save_tensors(path, tensors, {"step": str(step), "ema_step": str(ema.optimization_step)})


def load_training_state(
    path: Path,
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    ema: EMAModel,
) -> int:
    """Put back what :func:`save_training_state` wrote; returns the number of steps done.

    Raises:
        CheckpointError: if the file is damaged or was written for other weights.
    """
    tensors, metadata = load_tensors(path)
    own = {
        f"{kind}/{name}": parameter.shape
        for name, parameter in parameters.items()
        for kind in ("weight", "ema")
    }
    found = {name: value.shape for name, value in tensors.items() if not _is_moment(name)}
    if found != own or not {"step", "ema_step"} <= metadata.keys():
        raise CheckpointError(f"{path}: belongs to the training of another model; move it away")
    with torch.no_grad():
        for i, (name, parameter) in enumerate(parameters.items()):
            parameter.copy_(tensors[f"weight/{name}"])
            ema.shadow_params[i].copy_(tensors[f"ema/{name}"])
            moments = {m: tensors[f"{m}/{name}"] for m in _MOMENTS if f"{m}/{name}" in tensors}
            if moments:
                optimizer.state[parameter] = {
                    moment: value.to(parameter.device) for moment, value in moments.items()
                }
    ema.optimization_step = int(metadata["ema_step"])
    return int(metadata["step"])


def _is_moment(name: str) -> bool:
    return name.partition("/")[0] in _MOMENTS
