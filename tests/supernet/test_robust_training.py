"""Robust training: what it equals, reproducibility and resuming."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from diffusers.models.attention_processor import AttnProcessor
from small_training import (
    SCHEDULER,
    SMALLER,
    Interrupted,
    batches,
    copied,
    equal,
    small_supernet,
    stop_after,
    trained,
    training_settings,
    v_loss,
)
from small_unet import small_unet
from torch import nn

from supernet.architecture import CROSS_ATTENTION, BlockId
from supernet.batches import Batch
from supernet.checkpoint import CheckpointError
from supernet.robust_training import train
from supernet.supernet import Supernet

ATTENTION = BlockId(CROSS_ATTENTION, "up.1", 0)
ALL = {"keep_prob": 1.0}


def test_training_without_dropping_is_plain_training() -> None:
    """Against a loop written down here: AdamW, clipped gradients, average of the weights."""
    seed, steps = 3, 4
    supernet = small_supernet()
    start = copied(supernet)
    plain = trained(
        seed,
        supernet,
        steps=steps,
        dropping=ALL,
        warmup_steps=0,
        schedule="constant",
        adam_beta2=0.9,
        ema_decay=0.2,
        max_grad_norm=0.01,
    )

    stock = small_unet(**SMALLER).train()
    stock.set_attn_processor(AttnProcessor())
    optimizer = torch.optim.AdamW(stock.parameters(), lr=1e-3, betas=(0.9, 0.9), weight_decay=0.01)
    # The average's decay warms up as (1 + n) / (10 + n) and starts at nothing.
    for step, decay in enumerate([0.0, 2 / 11, 0.2, 0.2]):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        torch.rand((), generator=generator)  # the keep probability of this step
        optimizer.zero_grad()
        v_loss(stock, step, generator).backward()
        nn.utils.clip_grad_norm_(stock.parameters(), 0.01)
        optimizer.step()
        weights = stock.state_dict()
        if step == 0:
            average = {name: value.clone() for name, value in weights.items()}
        average = {n: decay * average[n] + (1 - decay) * weights[n] for n in weights}

    for name, value in average.items():
        torch.testing.assert_close(plain[name], value, rtol=0, atol=1e-5)
    moved = max((plain[name] - start[name]).abs().max().item() for name in start)
    assert moved > 1e-3


def test_who_predicts_as_the_teacher_does_has_nothing_to_learn() -> None:
    supernet = small_supernet()
    start = copied(supernet)
    teacher = copy.deepcopy(supernet.unet).requires_grad_(False)
    teacher.set_attn_processor(AttnProcessor())  # the student's, while it is trained
    settings = {"precision": "fp32", "weight_decay": 0.0, "dropping": ALL}
    weights = trained(supernet=supernet, options={"teacher": teacher}, distillation=1.0, **settings)
    assert equal(weights, start)
    half = trained(options={"teacher": teacher}, distillation=0.5, **settings)
    assert not equal(half, start)
    assert equal(teacher.state_dict(), start)


@pytest.mark.parametrize("kind", ["distillation", "feature_distillation"])
def test_distillation_without_a_teacher_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="distillation needs a teacher"):
        trained(**{kind: 0.5})


def test_the_seed_alone_decides() -> None:
    torch.manual_seed(1)
    one = trained(seed=0)
    torch.manual_seed(2)
    again = trained(seed=0)
    assert equal(one, again)
    assert not equal(one, trained(seed=1))


def test_torchs_own_seed_is_left_alone() -> None:
    before = torch.get_rng_state()
    supernet = small_supernet()
    trained(supernet=supernet, steps=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_unet_ends_as_a_stock_one_in_eval_mode() -> None:
    supernet = small_supernet()
    modules = dict(supernet.unet.named_modules())
    processors = supernet.unet.attn_processors
    weights = trained(supernet=supernet, precision="bf16")
    assert dict(supernet.unet.named_modules()) == modules
    assert supernet.unet.attn_processors == processors
    assert not any(module.training for module in supernet.unet.modules())
    assert {value.dtype for value in weights.values()} == {torch.float32}
    assert all(value.isfinite().all() for value in weights.values())


def test_only_the_blocks_of_the_architecture_are_trained() -> None:
    supernet = small_supernet()
    start = copied(supernet)
    lighter = supernet.full().without([ATTENTION])
    settings = training_settings(dropping=ALL, steps=2)
    train(supernet, batches, SCHEDULER, settings, 0, architecture=lighter)
    prefix = ".".join(map(str, ATTENTION.module_path)) + "."
    for name, value in supernet.unet.state_dict().items():
        assert torch.equal(value, start[name]) == name.startswith(prefix), name


def test_the_learning_rate_warms_up_and_falls_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    step = torch.optim.AdamW.step

    def spy(self: torch.optim.AdamW, *args: Any, **kwargs: Any) -> Any:
        rates.append(self.param_groups[0]["lr"])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    trained(steps=4, warmup_steps=2, learning_rate=0.01)
    half_cosine = [1.0, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5]  # at quarters of its way
    warm_up = [0.5, 1.0, 1.0, 1.0]
    expected = [0.01 * w * c for w, c in zip(warm_up, half_cosine, strict=True)]
    assert rates == pytest.approx(expected)


def test_progress_tells_steps_and_loss() -> None:
    reports: list[tuple[int, dict[str, float]]] = []
    supernet = small_supernet()
    train(
        supernet,
        batches,
        SCHEDULER,
        training_settings(steps=3),
        0,
        on_progress=lambda done, figures: reports.append((done, figures)),
    )
    assert [done for done, _ in reports] == [1, 2, 3]
    assert all(figures["loss"] > 0 for _, figures in reports)


def test_training_lowers_the_loss() -> None:
    losses: list[float] = []
    train(
        small_supernet(),
        lambda step, rows: batches(0, rows),
        DDIMScheduler(prediction_type="sample"),
        training_settings(steps=30, learning_rate=1e-2, dropping={"keep_prob": (0.8, 1.0)}),
        0,
        on_progress=lambda done, figures: losses.append(figures["loss"]),
    )
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


# --- interrupted and resumed


@pytest.mark.parametrize("stop", [1, 3, 4, 5])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_interrupted_and_resumed_is_uninterrupted_bit_for_bit(
    tmp_path: Path, stop: int, precision: str
) -> None:
    settings = training_settings(precision=precision, checkpoint_every=2)
    checkpoint = tmp_path / "training.safetensors"

    def run(seed: int, on_progress: Any = None, checkpoint: Path | None = None) -> Any:
        # The seed is of the weights before training: they must not matter once resumed.
        supernet = Supernet(small_unet(seed, **SMALLER))
        train(
            supernet,
            batches,
            SCHEDULER,
            settings,
            7,
            checkpoint=checkpoint,
            on_progress=on_progress,
        )
        return supernet.unet.state_dict()

    uninterrupted = run(0)
    with pytest.raises(Interrupted):
        run(0, stop_after(stop), checkpoint)
    assert checkpoint.exists() == (stop >= 2)
    resumed = run(1 if checkpoint.exists() else 0, None, checkpoint)
    assert equal(uninterrupted, resumed)


def test_a_finished_training_is_not_done_again(tmp_path: Path) -> None:
    checkpoint = tmp_path / "training.safetensors"
    settings = training_settings(steps=2)
    first, second = (Supernet(small_unet(seed, **SMALLER)) for seed in (0, 1))
    train(first, batches, SCHEDULER, settings, 0, checkpoint=checkpoint)

    def no_more(step: int, rows: range) -> Batch:
        raise AssertionError(step)

    train(second, no_more, SCHEDULER, settings, 0, checkpoint=checkpoint)
    assert equal(first.unet.state_dict(), second.unet.state_dict())


def test_the_checkpoint_of_another_supernet_is_refused(tmp_path: Path) -> None:
    checkpoint = tmp_path / "training.safetensors"
    settings = training_settings(steps=1)
    train(Supernet(small_unet()), batches, SCHEDULER, settings, 0, checkpoint=checkpoint)
    before = checkpoint.read_bytes()
    with pytest.raises(CheckpointError, match="safetensors: belongs to the training of"):
        train(small_supernet(), batches, SCHEDULER, settings, 0, checkpoint=checkpoint)
    assert checkpoint.read_bytes() == before
