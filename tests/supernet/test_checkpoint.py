"""Files of tensors: damaged and foreign ones are refused, writing is all or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from diffusers.training_utils import EMAModel
from safetensors.torch import save_file
from torch import Tensor, nn

from supernet import checkpoint
from supernet.checkpoint import (
    CheckpointError,
    load_tensors,
    load_training_state,
    save_tensors,
    save_training_state,
)

OLD = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.ones(3, dtype=torch.bfloat16)}
NEW = {"weight": torch.zeros(2, 3)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "weights.safetensors"
    save_tensors(path, OLD, {"step": "3"})
    return path


def check_old(path: Path) -> None:
    tensors, metadata = load_tensors(path)
    assert metadata == {"step": "3"}
    assert tensors.keys() == OLD.keys()
    for name, value in OLD.items():
        assert tensors[name].dtype == value.dtype
        assert torch.equal(tensors[name], value)
    assert list(path.parent.iterdir()) == [path]


def test_tensors_and_metadata_come_back(path: Path) -> None:
    check_old(path)


def test_views_are_written_as_what_they_show(path: Path) -> None:
    save_tensors(path, {"turned": OLD["weight"].T}, {})
    assert torch.equal(load_tensors(path)[0]["turned"], OLD["weight"].T)


def refused(path: Path) -> None:
    with pytest.raises(CheckpointError) as refusal:
        load_tensors(path)
    message = str(refusal.value)
    assert message.startswith(f"{path}: cannot be read as safetensors")
    assert "\n" not in message


@pytest.mark.parametrize("kept", [0, 4, 8, 100, -1])
def test_a_truncated_file_is_refused(path: Path, kept: int) -> None:
    path.write_bytes(path.read_bytes()[:kept])
    refused(path)


def test_what_is_no_safetensors_is_refused(path: Path) -> None:
    path.write_text("no tensors here, but a sentence that is long enough for a header")
    refused(path)


def test_a_missing_file_and_a_folder_are_refused(path: Path) -> None:
    refused(path.with_name("missing.safetensors"))
    refused(path.parent)


def test_an_interrupted_write_leaves_the_old_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(tensors: Mapping[str, Tensor], file: Path, metadata: dict[str, str]) -> None:
        file.write_bytes(b"half a he")
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save_file", half)
    with pytest.raises(KeyboardInterrupt):
        save_tensors(path, NEW, {})
    check_old(path)


def test_a_failing_rename_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk is read-only")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="read-only"):
        save_tensors(path, NEW, {})
    monkeypatch.undo()
    check_old(path)


# --- the state of a training


class Training:
    """A linear layer with an optimizer and an average, some steps in."""

    def __init__(self, model: nn.Module, steps: int = 0) -> None:
        self.parameters = dict(model.named_parameters())
        self.optimizer = torch.optim.AdamW(self.parameters.values(), lr=0.1)
        self.ema = EMAModel(self.parameters.values(), decay=0.9)
        for _ in range(steps):
            for parameter in self.parameters.values():
                parameter.grad = torch.ones_like(parameter)
            self.optimizer.step()
            self.ema.step(self.parameters.values())

    def save(self, path: Path, step: int) -> None:
        save_training_state(path, step, self.parameters, self.optimizer, self.ema)

    def load(self, path: Path) -> int:
        return load_training_state(path, self.parameters, self.optimizer, self.ema)

    def tensors(self) -> list[Tensor]:
        moments = [
            value for p in self.parameters.values() for value in self.optimizer.state[p].values()
        ]
        return [*self.parameters.values(), *self.ema.shadow_params, *moments]


def test_a_training_state_comes_back_whole(path: Path) -> None:
    saved, fresh = Training(nn.Linear(2, 3), steps=2), Training(nn.Linear(2, 3))
    saved.save(path, 2)
    assert fresh.load(path) == 2
    assert fresh.ema.optimization_step == 2
    assert len(saved.tensors()) == 2 * (1 + 1 + 3)
    for one, other in zip(saved.tensors(), fresh.tensors(), strict=True):
        assert torch.equal(one, other)


def test_a_block_that_was_never_trained_has_no_moments(path: Path) -> None:
    Training(nn.Linear(2, 3)).save(path, 0)
    fresh = Training(nn.Linear(2, 3))
    assert fresh.load(path) == 0
    assert not fresh.optimizer.state


FOREIGN = {
    "other widths": nn.Linear(2, 1),
    "more weights": nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3)),
    "fewer weights": nn.Linear(2, 3, bias=False),
}


@pytest.mark.parametrize("model", FOREIGN.values(), ids=FOREIGN)
def test_the_state_of_another_model_is_refused_and_changes_nothing(
    path: Path, model: nn.Module
) -> None:
    Training(model, steps=1).save(path, 1)
    training = Training(nn.Linear(2, 3), steps=1)
    before = [value.clone() for value in training.tensors()]
    with pytest.raises(CheckpointError) as refusal:
        training.load(path)
    assert str(refusal.value) == f"{path}: belongs to the training of another model; move it away"
    for one, other in zip(before, training.tensors(), strict=True):
        assert torch.equal(one, other)


def test_weights_alone_are_no_training_state(path: Path) -> None:
    training = Training(nn.Linear(2, 3), steps=1)
    weights = {f"weight/{name}": value.detach() for name, value in training.parameters.items()}
    for tensors in (training.parameters, weights):
        save_file(dict(tensors), path)
        with pytest.raises(CheckpointError, match="another model"):
            training.load(path)


def test_a_training_state_without_its_step_is_refused(path: Path) -> None:
    training = Training(nn.Linear(2, 3), steps=1)
    training.save(path, 1)
    save_file(load_tensors(path)[0], path)
    with pytest.raises(CheckpointError, match="another model"):
        training.load(path)
