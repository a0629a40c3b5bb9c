"""Training a smaller decoder: it comes closer to its teacher, and can be interrupted."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from diffusers import AutoencoderKL
from pydantic import ValidationError
from teachers import build_teacher, latents

from distillation.decoder_architecture import DecoderArchitecture
from distillation.decoder_training import DecoderTraining, decoder_parameters, train_decoder
from distillation.decoders import autoencoder_config
from distillation.efficient_autoencoder import EfficientAutoencoderKL
from distillation.inheritance import inherit
from distillation.pairs import Pairs, decode
from distillation.picture_loss import LossSettings, open_lpips
from supernet.checkpoint import CheckpointError

SETTINGS = DecoderTraining(
    steps=6,
    batch_size=4,
    learning_rate=1e-2,
    warmup_steps=1,
    ema_decay=0.5,
    precision="fp32",
    checkpoint_every=2,
)


class Interrupted(Exception):
    """Stands for whatever ends a process."""


@pytest.fixture(scope="module")
def teacher() -> AutoencoderKL:
    return build_teacher()


def student_of(teacher: AutoencoderKL) -> EfficientAutoencoderKL:
    full = DecoderArchitecture.full(autoencoder_config(teacher))
    return inherit(teacher, full.narrowed(0.5).shortened(1))


class TeachersPairs:
    """Random latents, another batch at every step."""

    def __init__(self, teacher: AutoencoderKL) -> None:
        self.teacher = teacher

    @torch.no_grad()
    def __call__(self, step: int, rows: range) -> Pairs:
        drawn = latents(4, seed=step)[list(rows)]
        return Pairs(drawn, decode(self.teacher, drawn))


def weights_of(student: EfficientAutoencoderKL) -> torch.Tensor:
    return torch.cat([weight.flatten() for weight in student.state_dict().values()])


@torch.no_grad()
def distance(student: EfficientAutoencoderKL, teacher: AutoencoderKL) -> float:
    drawn = latents(8, seed=99)
    return (decode(student, drawn) - decode(teacher, drawn)).square().mean().item()


def test_it_comes_closer_and_the_encoder_stays(teacher: AutoencoderKL) -> None:
    student = student_of(teacher)
    before = distance(student, teacher)
    settings = SETTINGS.model_copy(update={"steps": 40})
    train_decoder(student, TeachersPairs(teacher), settings, 0)
    assert distance(student, teacher) < 0.5 * before
    theirs = teacher.state_dict()
    for name, weight in student.state_dict().items():
        if name not in decoder_parameters(student):
            assert torch.equal(weight, theirs[name]), name
    assert not any(weight.requires_grad for weight in student.parameters())


def test_interrupted_it_ends_where_it_would_have(teacher: AutoencoderKL, tmp_path: Path) -> None:
    pairs, state = TeachersPairs(teacher), tmp_path / "state.safetensors"
    whole = student_of(teacher)
    train_decoder(whole, pairs, SETTINGS, 0)

    def stop(done: int, _: dict[str, float]) -> None:
        if done == 5:
            raise Interrupted

    with pytest.raises(Interrupted):
        train_decoder(student_of(teacher), pairs, SETTINGS, 0, checkpoint=state, on_progress=stop)
    resumed, steps = student_of(teacher), []
    train_decoder(
        resumed,
        pairs,
        SETTINGS,
        0,
        checkpoint=state,
        on_progress=lambda done, _: steps.append(done),
    )
    assert steps == [5, 6]
    assert torch.equal(weights_of(resumed), weights_of(whole))
    with pytest.raises(CheckpointError, match="another seed"):
        train_decoder(student_of(teacher), pairs, SETTINGS, 1, checkpoint=state)


def test_a_batch_may_be_cut_into_parts(teacher: AutoencoderKL) -> None:
    losses: dict[int, list[float]] = {1: [], 2: []}
    for parts, own in losses.items():
        settings = SETTINGS.model_copy(update={"accumulation": parts})
        train_decoder(
            student_of(teacher),
            TeachersPairs(teacher),
            settings,
            0,
            on_progress=lambda _, figures, own=own: own.append(figures["loss"]),
        )
    assert losses[1] == pytest.approx(losses[2], rel=1e-3)


def test_the_loss_is_the_mean_squared_error_by_its_weight() -> None:
    pictures, targets = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    loss = LossSettings(mse=2.0).open(torch.device("cpu"))(pictures, targets)
    torch.testing.assert_close(loss, 2 * (pictures - targets).pow(2).sum() / pictures.numel())
    with pytest.raises(ValidationError, match="mse and lpips are both 0"):
        LossSettings(mse=0)


def test_without_its_weights_lpips_says_where_they_belong(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(ValueError, match=r"weights of 'alex'.*no network.*checkpoints"):
        open_lpips("alex", torch.device("cpu"))
