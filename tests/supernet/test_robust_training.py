"""Robust training: the sampling of architectures, reproducibility and resuming."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from pydantic import ValidationError
from small_unet import small_unet
from torch import Tensor, nn

from supernet.architecture import CROSS_ATTENTION, RESNET, Architecture, BlockId
from supernet.batches import Batch
from supernet.checkpoint import CheckpointError
from supernet.loss import denoising_loss
from supernet.robust_training import TrainingSettings, sample_architecture, train
from supernet.supernet import Supernet

SMALLER = {"layers_per_block": 1}
SCHEDULER = DDIMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
ATTENTION = BlockId(CROSS_ATTENTION, "up.1", 0)
MID = BlockId(RESNET, "mid", 0)


class Interrupted(Exception):
    pass


def training_settings(**changes: Any) -> TrainingSettings:
    values = {
        "steps": 5,
        "batch_size": 2,
        "warmup_steps": 2,
        "keep_prob": (0.3, 0.8),
        "precision": "fp32",
        "checkpoint_every": 2,
    }
    return TrainingSettings(**{**values, **changes})


def batches(step: int, rows: range = range(2)) -> Batch:
    generator = torch.Generator().manual_seed(step)
    latents = torch.randn(2, 4, 8, 8, generator=generator)
    prompts = torch.randn(2, 5, 12, generator=generator)
    return Batch(latents[list(rows)], prompts[list(rows)])


def trained(
    seed: int = 0,
    supernet: Supernet | None = None,
    teacher: UNet2DConditionModel | None = None,
    **changes: Any,
) -> dict[str, Tensor]:
    """The weights of a small supernet after training."""
    supernet = supernet or Supernet(small_unet(**SMALLER))
    train(supernet, batches, SCHEDULER, training_settings(**changes), seed, teacher=teacher)
    return supernet.unet.state_dict()


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


# --- which architecture a step trains


def kept_share(architecture: Architecture, sampled: Architecture) -> float:
    running = [block for block, count in architecture.blocks if count]
    return sum(sampled[block] > 0 for block in running) / len(running)


@pytest.mark.parametrize("keep_prob", [(0.5, 0.5), (0.9, 0.9), (0.2, 0.8), (0.5, 1.0)])
def test_blocks_are_kept_with_the_drawn_probability(
    supernet: Supernet, keep_prob: tuple[float, float]
) -> None:
    """The share of kept blocks follows the one probability that a step draws."""
    low, high = keep_prob
    drawn, kept = [], []
    for seed in range(400):
        generator = torch.Generator().manual_seed(seed)
        share = torch.rand((), generator=torch.Generator().manual_seed(seed)).item()
        drawn.append(low + (high - low) * share)
        sampled = sample_architecture(supernet.full(), keep_prob, generator)
        kept.append(kept_share(supernet.full(), sampled))
    drawn_probability, kept_blocks = torch.tensor(drawn), torch.tensor(kept)
    assert kept_blocks.mean().item() == pytest.approx((low + high) / 2, abs=0.03)
    assert (kept_blocks - drawn_probability).mean().item() == pytest.approx(0, abs=0.03)
    if high > low:
        correlation = torch.corrcoef(torch.stack([drawn_probability, kept_blocks]))[0, 1]
        assert correlation > 0.6


def test_every_block_is_dropped_now_and_then(supernet: Supernet) -> None:
    dropped: set[BlockId] = set()
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        dropped.update(sample_architecture(supernet.full(), (0.5, 0.5), generator).removed)
    assert dropped == set(supernet.full())


def test_keep_probability_one_keeps_all(supernet: Supernet) -> None:
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        assert sample_architecture(supernet.full(), (1.0, 1.0), generator) == supernet.full()


def test_removed_blocks_stay_away_and_copies_go_together(supernet: Supernet) -> None:
    largest = supernet.full().with_multiplicities({ATTENTION: 0, MID: 2})
    counts = set()
    for seed in range(40):
        sampled = sample_architecture(largest, (0.5, 0.5), torch.Generator().manual_seed(seed))
        assert sampled[ATTENTION] == 0
        counts.add(sampled[MID])
    assert counts == {0, 2}


# --- training


def test_training_without_dropping_is_plain_training() -> None:
    """Against a loop written down here: AdamW, clipped gradients, average of the weights."""
    seed, steps = 3, 4
    supernet = Supernet(small_unet(**SMALLER))
    start = {name: value.clone() for name, value in supernet.unet.state_dict().items()}
    plain = trained(
        seed,
        supernet,
        steps=steps,
        keep_prob=(1.0, 1.0),
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
        batch = batches(step)
        loss = denoising_loss(
            stock, batch.latents, batch.encoder_hidden_states, SCHEDULER, generator
        )
        optimizer.zero_grad()
        loss.backward()
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
    supernet = Supernet(small_unet(**SMALLER))
    start = {name: value.clone() for name, value in supernet.unet.state_dict().items()}
    teacher = copy.deepcopy(supernet.unet).requires_grad_(False)
    teacher.set_attn_processor(AttnProcessor())  # the student's, while it is trained
    settings = {"precision": "fp32", "weight_decay": 0.0, "keep_prob": (1.0, 1.0)}
    weights = trained(supernet=supernet, teacher=teacher, distillation=1.0, **settings)
    assert equal(weights, start)
    half = Supernet(small_unet(**SMALLER))
    assert not equal(trained(supernet=half, teacher=teacher, distillation=0.5, **settings), start)
    assert equal(teacher.state_dict(), start)


def test_distillation_without_a_teacher_is_refused() -> None:
    with pytest.raises(ValueError, match="distillation needs a teacher"):
        trained(distillation=0.5)


def test_the_seed_alone_decides() -> None:
    torch.manual_seed(1)
    one = trained(seed=0)
    torch.manual_seed(2)
    again = trained(seed=0)
    assert equal(one, again)
    assert not equal(one, trained(seed=1))


def test_torchs_own_seed_is_left_alone() -> None:
    before = torch.get_rng_state()
    supernet = Supernet(small_unet(**SMALLER))
    trained(supernet=supernet, steps=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_unet_ends_as_a_stock_one_in_eval_mode() -> None:
    supernet = Supernet(small_unet(**SMALLER))
    modules = dict(supernet.unet.named_modules())
    processors = supernet.unet.attn_processors
    weights = trained(supernet=supernet, precision="bf16")
    assert dict(supernet.unet.named_modules()) == modules
    assert supernet.unet.attn_processors == processors
    assert not any(module.training for module in supernet.unet.modules())
    assert {value.dtype for value in weights.values()} == {torch.float32}
    assert all(value.isfinite().all() for value in weights.values())


def test_only_the_blocks_of_the_architecture_are_trained() -> None:
    supernet = Supernet(small_unet(**SMALLER))
    start = {name: value.clone() for name, value in supernet.unet.state_dict().items()}
    lighter = supernet.full().without([ATTENTION])
    settings = training_settings(keep_prob=(1.0, 1.0), steps=2)
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
    supernet = Supernet(small_unet(**SMALLER))
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
        Supernet(small_unet(**SMALLER)),
        lambda step, rows: batches(0, rows),
        DDIMScheduler(prediction_type="sample"),
        training_settings(steps=30, learning_rate=1e-2, keep_prob=(0.8, 1.0)),
        0,
        on_progress=lambda done, figures: losses.append(figures["loss"]),
    )
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


# --- interrupted and resumed


def stop_after(steps: int) -> Callable[[int, dict[str, float]], None]:
    def on_progress(done: int, _: dict[str, float]) -> None:
        if done == steps:
            raise Interrupted

    return on_progress


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
        train(
            Supernet(small_unet(**SMALLER)), batches, SCHEDULER, settings, 0, checkpoint=checkpoint
        )
    assert checkpoint.read_bytes() == before


# --- settings


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", -1),
        ("batch_size", 0),
        ("learning_rate", 0),
        ("schedule", "linear"),
        ("warmup_steps", -1),
        ("weight_decay", -0.1),
        ("max_grad_norm", 0),
        ("ema_decay", 1.0),
        ("keep_prob", (0.5,)),
        ("snr_gamma", 0),
        ("precision", "fp16"),
        ("checkpoint_every", 0),
        ("learning_rates", 0.1),
    ],
)
def test_settings_out_of_range_name_the_field(field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as refusal:
        training_settings(**{field: value})
    assert refusal.value.errors()[0]["loc"][0] == field


@pytest.mark.parametrize("keep_prob", [(0.0, 1.0), (0.9, 0.5), (0.5, 1.1), (-0.5, 0.5)])
def test_keep_prob_is_a_range_within_one(keep_prob: tuple[float, float]) -> None:
    with pytest.raises(ValidationError, match=r"keep_prob is a range \[low, high\]"):
        training_settings(keep_prob=keep_prob)
