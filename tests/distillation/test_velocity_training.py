"""From noise to velocities: what schedulers say, and that a training leads there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, PNDMScheduler, UNet2DConditionModel
from small_unets import CONFIG, Stopped, batches, equal, small_unet

from distillation.noise_levels import noise_level
from distillation.velocity_training import train_velocity, velocity_scheduler
from supernet.batches import Batch
from supernet.training_settings import OptimizationSettings

STABLE_DIFFUSION: dict[str, Any] = {  # of v1.5's scheduler_config.json
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "skip_prk_steps": True,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
OF_NOISE = DDIMScheduler.from_config(PNDMScheduler(**STABLE_DIFFUSION).config)
SETTINGS = OptimizationSettings(
    steps=6, batch_size=4, warmup_steps=1, precision="fp32", checkpoint_every=2, ema_decay=0.5
)


@pytest.mark.parametrize("rescaled", [False, True])
def test_the_scheduler_of_velocities_keeps_the_noise_of_the_one_before(rescaled: bool) -> None:
    after = velocity_scheduler(OF_NOISE, rescaled)
    assert after.config.prediction_type == "v_prediction"
    assert after.config.timestep_spacing == "trailing"
    assert after.config.rescale_betas_zero_snr is rescaled
    assert after.config.set_alpha_to_one is False
    assert not after.config.clip_sample
    assert torch.equal(after.alphas_cumprod, OF_NOISE.alphas_cumprod) is not rescaled
    after.set_timesteps(8)
    assert after.timesteps.tolist() == [999, 874, 749, 624, 499, 374, 249, 124]
    # Rescaled once, it stays so.
    assert velocity_scheduler(after).config.rescale_betas_zero_snr is rescaled


def test_a_rescaled_schedule_ends_in_noise_alone() -> None:
    after = velocity_scheduler(OF_NOISE, True)
    last = noise_level(after, torch.tensor([999]), torch.zeros(1, dtype=torch.float64))
    assert (last.alpha.item(), last.sigma.item()) == (0, 1)
    first = noise_level(after, torch.tensor([0]), torch.zeros(1, dtype=torch.float64))
    before = noise_level(OF_NOISE, torch.tensor([0]), torch.zeros(1, dtype=torch.float64))
    assert first.alpha.item() == pytest.approx(before.alpha.item(), abs=1e-6)


def one_picture(step: int, rows: range) -> Batch:
    """Of which the noise in it, and so its velocity, can be told."""
    return Batch(torch.full((len(rows), 4, 8, 8), 1.5), torch.zeros(len(rows), 5, 12))


def test_a_unet_learns_velocities() -> None:
    losses: list[float] = []
    settings = SETTINGS.model_copy(update={"steps": 80, "learning_rate": 5e-3})
    unet = small_unet(1)
    train_velocity(
        unet,
        one_picture,
        velocity_scheduler(OF_NOISE, True),
        settings,
        0,
        on_progress=lambda _, figures: losses.append(figures["loss"]),
    )
    assert not unet.training
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


def test_a_training_that_is_stopped_goes_on_to_the_same_end(tmp_path: Path) -> None:
    scheduler, checkpoint = velocity_scheduler(OF_NOISE), tmp_path / "training.safetensors"

    def trained(checkpoint: Path | None, stop_at: int | None = None) -> UNet2DConditionModel:
        def told(done: int, _: dict[str, float]) -> None:
            if done == stop_at:
                raise Stopped

        unet = small_unet(1)
        train_velocity(
            unet, batches, scheduler, SETTINGS, 0, checkpoint=checkpoint, on_progress=told
        )
        return unet

    with pytest.raises(Stopped):
        trained(checkpoint, stop_at=3)
    again, whole = trained(checkpoint), trained(None)
    assert equal(again.state_dict(), whole.state_dict())


def test_a_scheduler_of_noise_is_refused() -> None:
    with pytest.raises(ValueError, match="'epsilon' trains no velocities"):
        train_velocity(UNet2DConditionModel(**CONFIG), batches, OF_NOISE, SETTINGS, 0)
