"""The denoising loss against formulas worked out by hand in float64."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from supernet.loss import denoising_loss

SCALED_LINEAR = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
SQUARED_COSINE = {"beta_schedule": "squaredcos_cap_v2"}
STEPS = 1000


class RecordingUNet:
    """Predicts a fixed tensor and remembers what it was asked."""

    def __init__(self, prediction: Tensor) -> None:
        self.prediction = prediction

    def __call__(self, noisy: Tensor, timestep: Tensor, prompt: Tensor) -> SimpleNamespace:
        self.noisy, self.timestep, self.prompt = noisy, timestep, prompt
        return SimpleNamespace(sample=self.prediction)


def alphas_cumprod(schedule: dict[str, object]) -> np.ndarray:
    """The share of signal left at every timestep, alpha_t^2 in the paper's symbols."""
    if schedule is SCALED_LINEAR:
        betas = np.linspace(0.00085**0.5, 0.012**0.5, STEPS) ** 2
    else:
        signal = np.cos((np.linspace(0, 1, STEPS + 1) + 0.008) / 1.008 * math.pi / 2) ** 2
        betas = np.minimum(1 - signal[1:] / signal[:-1], 0.999)
    return np.cumprod(1 - betas)


def column(values: np.ndarray) -> np.ndarray:
    return values[:, None, None, None]


@pytest.mark.parametrize("schedule", [SCALED_LINEAR, SQUARED_COSINE], ids=["linear", "cosine"])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("snr_gamma", [None, 5.0])
def test_loss_by_hand(
    schedule: dict[str, object], prediction_type: str, snr_gamma: float | None
) -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 4, 8, 8, dtype=torch.float64)
    unet = RecordingUNet(torch.randn_like(x))
    prompt = torch.randn(6, 5, 12)
    scheduler = DDIMScheduler(prediction_type=prediction_type, **schedule)
    loss = denoising_loss(unet, x, prompt, scheduler, torch.Generator().manual_seed(3), snr_gamma)

    assert unet.prompt is prompt
    signal = alphas_cumprod(schedule)[unet.timestep.numpy()]
    alpha, sigma = column(np.sqrt(signal)), column(np.sqrt(1 - signal))
    clean, noisy, predicted = (each.numpy() for each in (x, unet.noisy, unet.prediction))
    noise = (noisy - alpha * clean) / sigma
    if snr_gamma is None:
        target = {
            "epsilon": noise,
            "v_prediction": alpha * noise - sigma * clean,
            "sample": clean,
        }[prediction_type]
        expected = np.mean((predicted - target) ** 2)
    else:
        # Min-SNR weights the error of the clean latents, whatever is predicted.
        implied = {
            "epsilon": (noisy - sigma * predicted) / alpha,
            "v_prediction": alpha * noisy - sigma * predicted,
            "sample": predicted,
        }[prediction_type]
        weight = np.minimum(alpha**2 / sigma**2, snr_gamma)
        expected = np.mean(weight * (implied - clean) ** 2)
    assert loss.item() == pytest.approx(expected, rel=2e-4)


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_a_teacher_takes_its_share_of_the_target(share: float) -> None:
    """The gradient is that of two losses, one against the data and one against the teacher."""
    torch.manual_seed(0)
    x = torch.randn(6, 4, 8, 8)
    prompt = torch.randn(6, 5, 12)
    unet, teacher = RecordingUNet(torch.randn_like(x)), RecordingUNet(torch.randn_like(x))
    unet.prediction.requires_grad_(True)
    scheduler = DDIMScheduler(prediction_type="v_prediction")

    def gradient(*options: object) -> torch.Tensor:
        loss = denoising_loss(
            unet, x, prompt, scheduler, torch.Generator().manual_seed(3), 5.0, *options
        )
        [result] = torch.autograd.grad(loss, unet.prediction)
        return result

    data = gradient()
    together = gradient(teacher, share)
    assert teacher.prompt is prompt
    assert torch.equal(teacher.noisy, unet.noisy)
    assert torch.equal(teacher.timestep, unet.timestep)
    # d/dp of w (p - q)^2 / n, with the weights that the data's gradient shows.
    alpha = scheduler.alphas_cumprod[unet.timestep].sqrt()[:, None, None, None]
    noise = (unet.noisy - alpha * x) / (1 - alpha**2).sqrt()
    velocity = alpha * noise - (1 - alpha**2).sqrt() * x
    weight = data / (unet.prediction - velocity)
    taught = weight * (unet.prediction - teacher.prediction)
    expected = (1 - share) * data + share * taught
    torch.testing.assert_close(together, expected.detach(), rtol=1e-3, atol=1e-6)


def test_noise_is_standard_and_timesteps_are_stratified() -> None:
    count = 40
    x = torch.zeros(count, 4, 16, 16, dtype=torch.float64)
    unet = RecordingUNet(torch.zeros_like(x))
    scheduler = DDIMScheduler(**SCALED_LINEAR)
    denoising_loss(unet, x, torch.zeros(count, 5, 12), scheduler, torch.Generator().manual_seed(0))
    timestep = unet.timestep.numpy()
    assert [t * count // STEPS for t in timestep] == list(range(count))
    noise = unet.noisy.numpy() / column(np.sqrt(1 - alphas_cumprod(SCALED_LINEAR)[timestep]))
    assert abs(noise.mean()) < 0.02
    assert noise.std() == pytest.approx(1, abs=0.02)


def test_the_generator_fixes_noise_and_timesteps() -> None:
    x = torch.ones(4, 4, 8, 8)

    def asked(seed: int) -> tuple[Tensor, Tensor]:
        unet = RecordingUNet(torch.zeros_like(x))
        generator = torch.Generator().manual_seed(seed)
        denoising_loss(unet, x, torch.zeros(4, 5, 12), DDIMScheduler(), generator)
        return unet.noisy, unet.timestep

    for one, again, other in zip(asked(0), asked(0), asked(1), strict=True):
        assert torch.equal(one, again)
        assert not torch.equal(one, other)


def test_an_unknown_prediction_type_is_refused() -> None:
    scheduler = DDIMScheduler(prediction_type="flow")
    x = torch.zeros(2, 4, 8, 8)
    with pytest.raises(ValueError, match=r"unknown prediction_type 'flow'.*use epsilon, v_"):
        denoising_loss(RecordingUNet(x), x, torch.zeros(2, 5, 12), scheduler, torch.Generator())
