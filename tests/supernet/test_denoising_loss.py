"""The denoising loss against formulas worked out by hand in float64."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from small_unet import small_inputs, small_unet
from torch import Tensor

from supernet.batches import Batch
from supernet.feature_distillation import feature_loss, stage_outputs
from supernet.loss import NoisyBatch, Prediction, add_noise, denoising_loss, draw_noise, predict

SCALED_LINEAR = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
SQUARED_COSINE = {"beta_schedule": "squaredcos_cap_v2"}
STEPS = 1000


def asked(
    x: Tensor, scheduler: DDIMScheduler, seed: int = 3, snr_gamma: float | None = None
) -> NoisyBatch:
    """What a UNet is asked about clean latents ``(batch, 4, h, w)``."""
    noise = draw_noise(x.shape, scheduler, torch.Generator().manual_seed(seed))
    return add_noise(Batch(x, torch.randn(len(x), 5, 12)), noise, scheduler, snr_gamma)


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
    prediction = torch.randn_like(x)
    scheduler = DDIMScheduler(prediction_type=prediction_type, **schedule)
    question = asked(x, scheduler, snr_gamma=snr_gamma)
    loss = denoising_loss(Prediction(prediction, ()), question)

    signal = alphas_cumprod(schedule)[question.timestep.numpy()]
    alpha, sigma = column(np.sqrt(signal)), column(np.sqrt(1 - signal))
    clean, noisy, predicted = (each.numpy() for each in (x, question.latents, prediction))
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


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_a_schedule_that_ends_in_pure_noise_has_finite_weights(prediction_type: str) -> None:
    """There the SNR is zero: the clean latents' error has no weight but where noise is told."""
    scheduler = DDIMScheduler(
        prediction_type=prediction_type, rescale_betas_zero_snr=True, **SCALED_LINEAR
    )
    x = torch.randn(STEPS, 4, 2, 2)  # one picture for every timestep
    question = asked(x, scheduler, snr_gamma=5.0)
    assert question.timestep.tolist() == list(range(STEPS))
    assert scheduler.alphas_cumprod[-1] == 0
    assert question.weight is not None
    limit = {"epsilon": 1.0, "v_prediction": 0.0, "sample": 0.0}[prediction_type]
    assert question.weight[-1].item() == limit
    assert denoising_loss(Prediction(torch.randn_like(x), ()), question).isfinite()


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_a_teacher_takes_its_share_of_the_target(share: float) -> None:
    """The gradient is that of two losses, one against the data and one against the teacher."""
    torch.manual_seed(0)
    x = torch.randn(6, 4, 8, 8)
    prediction, taught = torch.randn_like(x).requires_grad_(True), torch.randn_like(x)
    scheduler = DDIMScheduler(prediction_type="v_prediction")
    question = asked(x, scheduler, snr_gamma=5.0)

    def gradient(*options: object) -> torch.Tensor:
        [result] = torch.autograd.grad(
            denoising_loss(Prediction(prediction, ()), question, *options), prediction
        )
        return result

    data = gradient()
    together = gradient(Prediction(taught, ()), share)
    # d/dp of w (p - q)^2 / n, with the weights that the data's gradient shows.
    alpha = scheduler.alphas_cumprod[question.timestep].sqrt()[:, None, None, None]
    noise = (question.latents - alpha * x) / (1 - alpha**2).sqrt()
    velocity = alpha * noise - (1 - alpha**2).sqrt() * x
    weight = data / (prediction - velocity)
    expected = (1 - share) * data + share * weight * (prediction - taught)
    torch.testing.assert_close(together, expected.detach(), rtol=1e-3, atol=1e-6)


def test_noise_is_standard_and_timesteps_are_stratified() -> None:
    count = 40
    x = torch.zeros(count, 4, 16, 16, dtype=torch.float64)
    question = asked(x, DDIMScheduler(**SCALED_LINEAR))
    timestep = question.timestep.numpy()
    assert [t * count // STEPS for t in timestep] == list(range(count))
    noise = question.latents.numpy() / column(np.sqrt(1 - alphas_cumprod(SCALED_LINEAR)[timestep]))
    assert abs(noise.mean()) < 0.02
    assert noise.std() == pytest.approx(1, abs=0.02)


def test_the_generator_fixes_noise_and_timesteps() -> None:
    def drawn(seed: int) -> tuple[Tensor, Tensor]:
        question = asked(torch.ones(4, 4, 8, 8), DDIMScheduler(), seed)
        return question.latents, question.timestep

    for one, again, other in zip(drawn(0), drawn(0), drawn(1), strict=True):
        assert torch.equal(one, again)
        assert not torch.equal(one, other)


def test_rows_of_a_batch_get_the_batchs_noise() -> None:
    noise = draw_noise((6, 4, 8, 8), DDIMScheduler(), torch.Generator().manual_seed(0))
    rows = noise[range(1, 6, 2)]
    assert torch.equal(rows.noise, noise.noise[[1, 3, 5]])
    assert torch.equal(rows.timestep, noise.timestep[[1, 3, 5]])


def test_an_unknown_prediction_type_is_refused() -> None:
    scheduler = DDIMScheduler(prediction_type="flow")
    with pytest.raises(ValueError, match=r"unknown prediction_type 'flow'.*use epsilon, v_"):
        asked(torch.zeros(2, 4, 8, 8), scheduler)


# --- what a UNet is asked, and its stages


def test_the_unet_is_asked_with_all_conditions() -> None:
    """SDXL's UNet takes a pooled prompt and sizes besides."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def unet(*arguments: Any, **named: Any) -> SimpleNamespace:
        calls.append((arguments, named))
        return SimpleNamespace(sample=torch.zeros(2, 4, 8, 8))

    added = {"text_embeds": torch.randn(2, 6), "time_ids": torch.randn(2, 6)}
    batch = Batch(torch.randn(2, 4, 8, 8), torch.randn(2, 5, 12), added)
    noise = draw_noise((2, 4, 8, 8), DDIMScheduler(), torch.Generator().manual_seed(0))
    question = add_noise(batch, noise, DDIMScheduler())
    predict(unet, question)
    [(arguments, named)] = calls
    for given, expected in zip(
        arguments, (question.latents, noise.timestep, batch.encoder_hidden_states), strict=True
    ):
        assert torch.equal(given, expected)
    assert named == {"added_cond_kwargs": added}


def test_every_stage_is_recorded_once_and_none_afterwards() -> None:
    unet = small_unet()
    sample, timestep, prompt = small_inputs()
    with stage_outputs(unet) as stages:
        unet(sample, timestep, prompt)
    unet(sample, timestep, prompt)
    # Two down blocks (the first halves the size), the middle, two up blocks.
    assert [tuple(stage.shape[1:]) for stage in stages] == [
        (8, 4, 4),
        (16, 4, 4),
        (16, 4, 4),
        (16, 8, 8),
        (8, 8, 8),
    ]
    captured: list[Tensor] = []
    unet.up_blocks[0].register_forward_pre_hook(
        lambda stage, arguments, named: captured.append(named["hidden_states"]), with_kwargs=True
    )
    unet(sample, timestep, prompt)
    assert torch.equal(captured[0], stages[2])


def test_feature_distance_is_the_sum_over_stages_of_mean_squares() -> None:
    student = [torch.full((2, 3, 4, 4), 1.0), torch.full((2, 1, 2, 2), 5.0, dtype=torch.bfloat16)]
    teacher = [torch.full((2, 3, 4, 4), 3.0), torch.full((2, 1, 2, 2), 4.0)]
    assert feature_loss(student, teacher).item() == 4 + 1
    x = torch.zeros(2, 4, 8, 8)
    question = asked(x, DDIMScheduler(prediction_type="sample"))
    own, taught = Prediction(x + 2, student), Prediction(x - 9, teacher)
    assert denoising_loss(own, question, taught, 0.0, 0.5).item() == 4 + 0.5 * 5
