"""The state of a training on disk: tensors in safetensors, never a pickle, written atomically."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.training_utils import EMAModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn


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


@dataclass(frozen=True)
class TrainingState:
    """Everything that a training changes.

    Attributes:
        parameters: the weights, by name.
        optimizer: of all of them, in this order; whatever tensors and numbers it keeps for each.
        scaler: of the gradients, if they are scaled.
        ema: average of the weights, if one is kept.
    """

    parameters: Mapping[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    ema: EMAModel | None


def save_training_state(path: Path, state: TrainingState, step: int, training: str) -> None:
    """Write the state after ``step`` steps of a training that the text ``training`` tells from
    others.
    """
    tensors = {f"weight/{name}": value.detach() for name, value in state.parameters.items()}
    metadata = {
        "training": training,
        "step": str(step),
        "optimizer": type(state.optimizer).__name__,
        "scaler": json.dumps(state.scaler.state_dict()),
    }
    if state.ema is not None:
        averages = zip(state.parameters, state.ema.shadow_params, strict=True)
        tensors |= {f"ema/{name}": average for name, average in averages}
        metadata["ema_step"] = str(state.ema.optimization_step)
    for name, parameter in state.parameters.items():
        # A block that every step so far has dropped has no moments yet.
        for key, value in state.optimizer.state.get(parameter, {}).items():
            if value is not None:
                tensors[f"optimizer/{key}/{name}"] = torch.as_tensor(value)
    save_tensors(path, tensors, metadata)


def load_training_state(
    path: Path,
    state: TrainingState,
    training: str | None = None,
    complete: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = dict,
) -> int:
    """Put back what :func:`save_training_state` wrote; returns the number of steps done.

    A state without an average, or without a scale of gradients, is gone on with by those that a
    training begins with.

    Args:
        path: the file.
        state: what is overwritten; left as it is if the file is refused.
        training: the file has to be of this training; of any with such weights and such an
            optimizer by default.
        complete: adds what the file cannot know, such as the state of copies made since.

    Raises:
        CheckpointError: if the file is damaged or was written for other weights, by another
            training, or with another optimizer.
    """
    stored, metadata = load_tensors(path)
    tensors = complete(stored)
    _check(path, tensors, metadata, state, training)
    with torch.no_grad():
        for i, (name, parameter) in enumerate(state.parameters.items()):
            weight = tensors[f"weight/{name}"]
            parameter.copy_(weight)
            if state.ema is not None:
                state.ema.shadow_params[i].copy_(tensors.get(f"ema/{name}", weight))
    if state.ema is not None:
        state.ema.optimization_step = int(metadata.get("ema_step", 0))
    state.optimizer.load_state_dict(
        {
            "state": _optimizer_state(tensors, list(state.parameters)),
            "param_groups": state.optimizer.state_dict()["param_groups"],
        }
    )
    scale = json.loads(metadata["scaler"])
    if scale and state.scaler.is_enabled():
        state.scaler.load_state_dict(scale)
    return int(metadata["step"])


def _optimizer_state(
    tensors: Mapping[str, Tensor], names: Sequence[str]
) -> dict[int, dict[str, Tensor]]:
    """What an optimizer keeps, by the position of the weight."""
    places = {name: place for place, name in enumerate(names)}
    state: dict[int, dict[str, Tensor]] = {}
    for full_name, value in tensors.items():
        kind, _, rest = full_name.partition("/")
        if kind == "optimizer":
            key, _, name = rest.partition("/")
            state.setdefault(places[name], {})[key] = value
    return state


def _check(
    path: Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    state: TrainingState,
    training: str | None,
) -> None:
    shapes = {name: parameter.shape for name, parameter in state.parameters.items()}
    found: dict[str, dict[str, torch.Size]] = {"weight": {}, "ema": {}}
    for full_name, value in tensors.items():
        kind, _, name = full_name.partition("/")
        if kind in found:
            found[kind][name] = value.shape
    if (
        found["weight"] != shapes
        or found["ema"] not in ({}, shapes)
        or not {"training", "step", "optimizer", "scaler"} <= metadata.keys()
    ):
        raise CheckpointError(f"{path}: belongs to the training of another model; move it away")
    if training is not None and metadata["training"] != training:
        raise CheckpointError(
            f"{path}: belongs to a training with other settings, another seed or another "
            "architecture; go back to those, or move the file away to train anew"
        )
    own = type(state.optimizer).__name__
    if metadata["optimizer"] != own:
        raise CheckpointError(
            f"{path}: has the moments of {metadata['optimizer']}, not of {own}; "
            "go on with the optimizer that it was trained by"
        )
