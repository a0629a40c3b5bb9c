"""A training of a small supernet that takes a second, for the tests that train."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import DDIMScheduler
from small_unet import small_unet
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.batches import Batch
from supernet.robust_training import train
from supernet.supernet import Supernet
from supernet.training_settings import TrainingSettings

SMALLER = {"layers_per_block": 1}
SCHEDULER = DDIMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
LARGEST_BATCH = 8


class Interrupted(Exception):
    pass


def training_settings(**changes: Any) -> TrainingSettings:
    values = {
        "steps": 5,
        "batch_size": 2,
        "warmup_steps": 2,
        "dropping": {"keep_prob": (0.3, 0.8)},
        "precision": "fp32",
        "checkpoint_every": 2,
    }
    return TrainingSettings(**{**values, **changes})


def batches(step: int, rows: range) -> Batch:
    """Rows of a batch of up to eight pictures."""
    generator = torch.Generator().manual_seed(step)
    latents = torch.randn(LARGEST_BATCH, 4, 8, 8, generator=generator)
    prompts = torch.randn(LARGEST_BATCH, 5, 12, generator=generator)
    return Batch(latents[list(rows)], prompts[list(rows)])


def small_supernet(seed: int = 0, **changes: Any) -> Supernet:
    return Supernet(small_unet(seed, **SMALLER, **changes))


def trained(
    seed: int = 0, supernet: Supernet | None = None, options: Any = None, **changes: Any
) -> dict[str, Tensor]:
    """The weights of a small supernet after training.

    Args:
        seed: of the training.
        supernet: a fresh one by default.
        options: keyword arguments of ``train``.
        changes: of the settings.
    """
    supernet = supernet or small_supernet()
    settings = training_settings(**changes)
    train(supernet, batches, SCHEDULER, settings, seed, **(options or {}))
    return copied(supernet)


def copied(supernet: Supernet) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in supernet.unet.state_dict().items()}


def losses_of(**arguments: Any) -> tuple[list[float], dict[str, Tensor]]:
    """The loss of every step of :func:`trained`, and the weights after the last."""
    losses: list[float] = []

    def on_progress(_: int, figures: dict[str, float]) -> None:
        losses.append(figures["loss"])

    options = {**arguments.pop("options", {}), "on_progress": on_progress}
    return losses, trained(options=options, **arguments)


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def close(one: dict[str, Tensor], other: dict[str, Tensor], atol: float) -> bool:
    assert one.keys() == other.keys()
    return all(torch.allclose(one[name], other[name], rtol=0, atol=atol) for name in one)


def stop_after(steps: int) -> Callable[[int, dict[str, float]], None]:
    def on_progress(done: int, _: dict[str, float]) -> None:
        if done == steps:
            raise Interrupted

    return on_progress


def v_loss(unet: nn.Module, step: int, generator: torch.Generator) -> Tensor:
    """Mean squared error of the velocity at stratified timesteps, written down here."""
    batch = batches(step, range(2))
    noise = torch.randn(2, 4, 8, 8, generator=generator)
    timestep = ((torch.arange(2) + torch.rand(2, generator=generator)) / 2 * 1000).long()
    alpha = SCHEDULER.alphas_cumprod[timestep].sqrt()[:, None, None, None]
    sigma = (1 - alpha**2).sqrt()
    noisy = alpha * batch.latents + sigma * noise
    velocity = alpha * noise - sigma * batch.latents
    return F.mse_loss(unet(noisy, timestep, batch.encoder_hidden_states).sample, velocity)
