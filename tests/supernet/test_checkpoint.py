"""Files of tensors: damaged and foreign ones are refused, writing is all or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.training_utils import EMAModel
from safetensors.torch import save_file
from torch import Tensor, nn

from supernet import checkpoint
from supernet.checkpoint import (
    CheckpointError,
    TrainingState,
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


OPTIMIZERS: dict[str, Any] = {"adamw": torch.optim.AdamW, "adafactor": torch.optim.Adafactor}
MOMENTS = {
    "adamw": {"step", "exp_avg", "exp_avg_sq"},
    "adafactor": {"step", "row_var", "col_var", "variance"},
}


class Training:
    """A linear layer with an optimizer and an average, some steps in."""

    def __init__(
        self, model: nn.Module, steps: int = 0, optimizer: str = "adamw", average: bool = True
    ) -> None:
        parameters = dict(model.named_parameters())
        self.state = TrainingState(
            parameters,
            OPTIMIZERS[optimizer](parameters.values(), lr=0.1),
            torch.amp.GradScaler("cpu", init_scale=8.0),
            EMAModel(parameters.values(), decay=0.9) if average else None,
        )
        self.train(steps)

    def train(self, steps: int) -> None:
        for _ in range(steps):
            for parameter in self.state.parameters.values():
                parameter.grad = torch.linspace(-1, 2, parameter.numel()).reshape(parameter.shape)
            self.state.optimizer.step()
            if self.state.ema is not None:
                self.state.ema.step(self.state.parameters.values())

    def save(self, path: Path, step: int, training: str = "mine") -> None:
        save_training_state(path, self.state, step, training)

    def load(self, path: Path, training: str | None = "mine") -> int:
        return load_training_state(path, self.state, training)

    def tensors(self) -> list[Tensor]:
        moments = [
            value
            for parameter in self.state.parameters.values()
            for _, value in sorted(self.state.optimizer.state[parameter].items())
        ]
        averages = [] if self.state.ema is None else self.state.ema.shadow_params
        return [*self.state.parameters.values(), *averages, *moments]


def same(one: Training, other: Training) -> bool:
    pairs = zip(one.tensors(), other.tensors(), strict=True)
    return all(torch.equal(a, b) and a.dtype == b.dtype for a, b in pairs)


@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_training_state_comes_back_whole(path: Path, optimizer: str, average: bool) -> None:
    saved = Training(nn.Linear(2, 3), 2, optimizer, average)
    saved.state.scaler.load_state_dict({**saved.state.scaler.state_dict(), "scale": 2.0})
    saved.save(path, 2)
    kinds = {name.split("/")[1] for name in load_tensors(path)[0] if name.startswith("optimizer")}
    assert kinds == MOMENTS[optimizer]

    fresh = Training(nn.Linear(2, 3), 0, optimizer, average)
    assert fresh.load(path) == 2
    assert fresh.state.scaler.state_dict() == saved.state.scaler.state_dict()
    assert same(saved, fresh)
    saved.train(1)
    fresh.train(1)
    assert same(saved, fresh)


def test_an_average_that_begins_later_begins_at_the_weights(path: Path) -> None:
    saved = Training(nn.Linear(2, 3), 2, average=False)
    saved.save(path, 2)
    fresh = Training(nn.Linear(2, 3))
    fresh.load(path, training=None)
    assert fresh.state.ema is not None
    weights = list(saved.state.parameters.values())
    assert all(
        torch.equal(a, w) for a, w in zip(fresh.state.ema.shadow_params, weights, strict=True)
    )
    without = Training(nn.Linear(2, 3), average=False)
    fresh.save(path, 2)
    without.load(path)
    assert same(without, saved)


def test_a_block_that_was_never_trained_has_no_moments(path: Path) -> None:
    Training(nn.Linear(2, 3)).save(path, 0)
    fresh = Training(nn.Linear(2, 3))
    assert fresh.load(path) == 0
    assert not fresh.state.optimizer.state


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
    parameters = training.state.parameters
    weights = {f"weight/{name}": value.detach() for name, value in parameters.items()}
    for tensors in (parameters, weights):
        save_file(dict(tensors), path)
        with pytest.raises(CheckpointError, match="another model"):
            training.load(path)


def test_a_training_state_without_its_step_is_refused(path: Path) -> None:
    training = Training(nn.Linear(2, 3), steps=1)
    training.save(path, 1)
    save_file(load_tensors(path)[0], path)
    with pytest.raises(CheckpointError, match="another model"):
        training.load(path)


def test_the_state_of_another_training_is_refused_unless_it_is_asked_for(path: Path) -> None:
    Training(nn.Linear(2, 3), steps=1).save(path, 1, "theirs")
    training = Training(nn.Linear(2, 3), steps=1)
    with pytest.raises(CheckpointError) as refusal:
        training.load(path, "mine")
    assert str(refusal.value).startswith(f"{path}: belongs to a training with other settings")
    assert training.load(path, None) == 1


def test_the_moments_of_another_optimizer_are_refused(path: Path) -> None:
    Training(nn.Linear(2, 3), 1, "adafactor").save(path, 1)
    training = Training(nn.Linear(2, 3), 1)
    before = [value.clone() for value in training.tensors()]
    with pytest.raises(CheckpointError, match="has the moments of Adafactor, not of AdamW"):
        training.load(path, None)
    for one, other in zip(before, training.tensors(), strict=True):
        assert torch.equal(one, other)
