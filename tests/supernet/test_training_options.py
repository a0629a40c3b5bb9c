"""Ways to train that must not change the result, and those that change it in a known way."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from diffusers.models.attention_processor import AttnProcessor
from small_training import (
    SCHEDULER,
    Interrupted,
    batches,
    close,
    copied,
    equal,
    losses_of,
    small_supernet,
    stop_after,
    trained,
    training_settings,
)
from small_unet import small_unet
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.batches import Batch
from supernet.block_dropping import BlockDropping, sample_passes
from supernet.checkpoint import CheckpointError, load_tensors
from supernet.robust_training import train
from supernet.supernet import Supernet

FOUR = {"batch_size": 4, "steps": 3}
PER_SAMPLE = {"keep_prob": (0.3, 0.8), "per": "sample"}
SANDWICH = {"keep_prob": 0.5, "sandwich": 1, "per": "batch"}
DROPPINGS = [{"keep_prob": (0.3, 0.8)}, PER_SAMPLE, SANDWICH]


def teacher() -> nn.Module:
    unet = small_unet(9, layers_per_block=1).requires_grad_(False)
    unet.set_attn_processor(AttnProcessor())
    return unet


# --- the same result in another way


@pytest.mark.parametrize("dropping", DROPPINGS)
def test_a_batch_in_parts_is_the_batch(dropping: dict[str, Any]) -> None:
    whole, weights = losses_of(dropping=dropping, **FOUR)
    parts, same = losses_of(dropping=dropping, accumulation=2, **FOUR)
    assert parts == pytest.approx(whole, rel=1e-4)
    assert close(weights, same, 1e-4)
    assert not equal(weights, same)  # the sums are other ones: it was in parts


@pytest.mark.parametrize("dropping", DROPPINGS)
def test_gradient_checkpointing_changes_no_gradient(dropping: dict[str, Any]) -> None:
    options = {"options": {"teacher": teacher()}, "feature_distillation": 1.0}
    stored = losses_of(dropping=dropping, **options, **FOUR)
    again = losses_of(dropping=dropping, gradient_checkpointing=True, **options, **FOUR)
    assert again[0] == stored[0]
    assert equal(stored[1], again[1])


@pytest.mark.parametrize("before", [False, True])
def test_gradient_checkpointing_is_on_in_training_alone(before: bool) -> None:
    supernet = small_supernet()
    if before:
        supernet.unet.enable_gradient_checkpointing()
    seen: list[bool] = []
    trained(
        supernet=supernet,
        steps=1,
        gradient_checkpointing=True,
        options={"on_progress": lambda *_: seen.append(supernet.unet.is_gradient_checkpointing)},
    )
    assert seen == [True]
    assert supernet.unet.is_gradient_checkpointing == before


# --- sandwich


def test_a_sandwich_steps_along_the_mean_of_its_gradients() -> None:
    """Against three passes written down here, by the gradients that the optimizer got."""
    supernet = small_supernet()
    [loss], _ = losses_of(supernet=supernet, steps=1, dropping=SANDWICH)
    stock = small_supernet()
    stock.unet.set_attn_processor(AttnProcessor())
    generator = torch.Generator().manual_seed(0)
    passes = sample_passes(stock.full(), BlockDropping(**SANDWICH), 0, 2, generator)
    assert [each[0] for each in passes[:2]] == [stock.full(), stock.full().without(stock.full())]
    losses = []
    noise = torch.randn(2, 4, 8, 8, generator=generator)
    timestep = ((torch.arange(2) + torch.rand(2, generator=generator)) / 2 * 1000).long()
    batch = batches(0, range(2))
    for architectures in passes:
        with stock.running(architectures[0]) as unet:
            noisy = SCHEDULER.add_noise(batch.latents, noise, timestep)
            target = SCHEDULER.get_velocity(batch.latents, noise, timestep)
            answer = unet(noisy, timestep, batch.encoder_hidden_states).sample
            losses.append(F.mse_loss(answer, target))
            (losses[-1] / 3).backward()
    assert loss == pytest.approx(sum(each.item() for each in losses) / 3)
    nn.utils.clip_grad_norm_(stock.unet.parameters(), 1.0)
    own = dict(supernet.unet.named_parameters())
    for name, parameter in stock.unet.named_parameters():
        torch.testing.assert_close(own[name].grad, parameter.grad, rtol=1e-3, atol=1e-5)


# --- a teacher


def test_the_teacher_is_asked_once_for_all_passes() -> None:
    calls: list[int] = []
    unet = teacher()
    unet.register_forward_hook(lambda module, given, output: calls.append(len(given[0])))
    trained(options={"teacher": unet}, distillation=0.5, dropping=SANDWICH, accumulation=2, **FOUR)
    assert calls == [2] * 2 * 3


def test_features_draw_the_stages_to_the_teachers() -> None:
    def distance(unet: nn.Module) -> float:
        stages: list[Tensor] = []
        for each in (unet, taught):
            hook = each.mid_block.register_forward_hook(
                lambda module, given, output: stages.append(output)
            )
            batch = batches(0, range(4))
            with torch.no_grad():
                each(batch.latents, torch.tensor([500] * 4), batch.encoder_hidden_states)
            hook.remove()
        return F.mse_loss(*stages).item()

    taught = teacher()
    supernet = small_supernet()
    before = distance(supernet.unet)
    settings = {"steps": 25, "learning_rate": 3e-3, "dropping": {"keep_prob": 1.0}}
    options = {"teacher": taught}
    trained(supernet=supernet, options=options, feature_distillation=10.0, **settings)
    assert distance(supernet.unet) < 0.7 * before
    assert not any(module._forward_hooks for module in supernet.unet.modules())


def test_a_student_like_its_teacher_has_no_features_to_learn() -> None:
    supernet = small_supernet()
    start = copied(supernet)
    same = copy.deepcopy(supernet.unet).requires_grad_(False)
    same.set_attn_processor(AttnProcessor())
    weights = trained(
        supernet=supernet,
        options={"teacher": same},
        distillation=1.0,
        feature_distillation=1.0,
        dropping={"keep_prob": 1.0},
        weight_decay=0.0,
    )
    assert equal(weights, start)


def test_conditions_of_sdxl_reach_unet_and_teacher() -> None:
    sdxl = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 4,
        "projection_class_embeddings_input_dim": 6 + 6 * 4,
    }
    supernet = small_supernet(**sdxl)
    unet = small_unet(9, layers_per_block=1, **sdxl).requires_grad_(False)

    def with_sizes(step: int, rows: range) -> Batch:
        plain = batches(step, rows)
        added = {"text_embeds": torch.randn(8, 6), "time_ids": torch.rand(8, 6) * 64}
        added = {name: value[list(rows)] for name, value in added.items()}
        return Batch(plain.latents, plain.encoder_hidden_states, added)

    start = copied(supernet)
    settings = training_settings(distillation=0.5, dropping=PER_SAMPLE, **FOUR)
    train(supernet, with_sizes, SCHEDULER, settings, 0, teacher=unet)
    moved = [
        name for name, value in copied(supernet).items() if not torch.equal(value, start[name])
    ]
    assert any(name.startswith("add_embedding") for name in moved)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_a_schedule_down_to_pure_noise_trains_to_finite_weights(prediction_type: str) -> None:
    scheduler = DDIMScheduler(prediction_type=prediction_type, rescale_betas_zero_snr=True)
    supernet = small_supernet()
    train(supernet, batches, scheduler, training_settings(snr_gamma=5.0, steps=2), 0)
    assert all(value.isfinite().all() for value in copied(supernet).values())


# --- averages, optimizers, precisions, dropout


def test_without_an_average_the_weights_are_the_result(tmp_path: Path) -> None:
    path = tmp_path / "training.safetensors"
    weights = trained(ema_decay=0.0, options={"checkpoint": path})
    saved = load_tensors(path)[0]
    assert not any(name.startswith("ema/") for name in saved)
    assert equal(weights, {name: saved[f"weight/{name}"] for name in weights})
    assert not equal(weights, trained(ema_decay=0.9))


def test_adafactor_keeps_rows_and_columns(tmp_path: Path) -> None:
    sizes = {}
    for optimizer in ("adamw", "adafactor"):
        path = tmp_path / f"{optimizer}.safetensors"
        losses, _ = losses_of(optimizer=optimizer, options={"checkpoint": path}, ema_decay=0.0)
        assert all(loss > 0 for loss in losses)
        saved = load_tensors(path)[0]
        sizes[optimizer] = sum(v.numel() for n, v in saved.items() if n.startswith("optimizer/"))
    assert sizes["adafactor"] < sizes["adamw"] / 2


WAYS: dict[str, dict[str, Any]] = {
    "adafactor": {"optimizer": "adafactor"},
    "fp16": {"precision": "fp16"},
    "per sample": {"dropping": PER_SAMPLE, "batch_size": 4},
    "sandwich": {"dropping": {**SANDWICH, "anneal_steps": 3}},
    "no average": {"ema_decay": 0.0},
    "parts": {"accumulation": 2, "gradient_checkpointing": True},
}


@pytest.mark.parametrize("way", WAYS)
def test_any_way_of_training_resumes_bit_for_bit(tmp_path: Path, way: str) -> None:
    path = tmp_path / "training.safetensors"
    uninterrupted = trained(7, **WAYS[way])
    with pytest.raises(Interrupted):
        trained(7, options={"checkpoint": path, "on_progress": stop_after(3)}, **WAYS[way])
    other = small_supernet(1)
    assert equal(uninterrupted, trained(7, other, {"checkpoint": path}, **WAYS[way]))


def test_dropout_is_fixed_by_seed_and_step(tmp_path: Path) -> None:
    path = tmp_path / "training.safetensors"

    def run(seed: int = 7, **options: Any) -> dict[str, Tensor]:
        return trained(seed, small_supernet(dropout=0.3), options, gradient_checkpointing=True)

    state = torch.get_rng_state()
    uninterrupted = run()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(123)
    with pytest.raises(Interrupted):
        run(checkpoint=path, on_progress=stop_after(3))
    torch.manual_seed(456)
    assert equal(uninterrupted, run(checkpoint=path))
    without = trained(7, small_supernet(dropout=0.0))
    assert not close(uninterrupted, without, 1e-5)


def test_gradients_that_overflow_are_skipped_and_the_scale_is_resumed(tmp_path: Path) -> None:
    """fp16: the first steps meet gradients beyond its range, so the scale is halved."""
    path = tmp_path / "training.safetensors"

    def loud(step: int, rows: range) -> Batch:
        batch = batches(step, rows)
        return Batch(batch.latents * (3e3 if step < 3 else 1), batch.encoder_hidden_states)

    def run(**options: Any) -> dict[str, Tensor]:
        supernet = small_supernet()
        settings = training_settings(precision="fp16", checkpoint_every=1, steps=6)
        train(supernet, loud, SCHEDULER, settings, 0, **options)
        return copied(supernet)

    uninterrupted = run()
    assert not equal(uninterrupted, copied(small_supernet()))
    assert all(value.isfinite().all() for value in uninterrupted.values())
    with pytest.raises(Interrupted):
        run(checkpoint=path, on_progress=stop_after(2))
    metadata = load_tensors(path)[1]
    assert json.loads(metadata["scaler"])["scale"] < 2.0**16
    assert equal(uninterrupted, run(checkpoint=path))


# --- going on from a finished training


def test_a_training_goes_on_from_the_state_of_another(tmp_path: Path) -> None:
    """Two halves at a constant rate are the whole, if the second has the second half's data."""
    settings: dict[str, Any] = {
        "schedule": "constant",
        "warmup_steps": 0,
        "dropping": {"keep_prob": 1.0},
        "weight_decay": 0.1,
    }
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    trained(0, steps=3, options={"checkpoint": first}, **settings)
    before = first.read_bytes()

    losses: list[float] = []
    supernet = small_supernet(5)  # other weights: those of the state count
    train(
        supernet,
        lambda step, rows: batches(step + 3, rows),
        SCHEDULER,
        training_settings(steps=3, **settings),
        0,
        continue_from=first,
        checkpoint=second,
        on_progress=lambda done, figures: losses.append(figures["loss"]),
    )
    assert first.read_bytes() == before
    assert len(losses) == 3
    tensors, metadata = load_tensors(second)
    steps = {int(v) for name, v in tensors.items() if name.startswith("optimizer/step")}
    assert (steps, metadata["step"], metadata["ema_step"]) == ({6}, "3", "6")
    again = trained(
        0, small_supernet(6), {"continue_from": first, "checkpoint": second}, steps=3, **settings
    )
    assert equal(again, copied(supernet))  # its own checkpoint goes before


def test_what_is_to_be_gone_on_from_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none\.safetensors: cannot be read"):
        trained(options={"continue_from": tmp_path / "none.safetensors"})


@pytest.mark.parametrize(
    "changes", [{"seed": 1}, {"learning_rate": 0.5}, {"dropping": {"keep_prob": 0.5}}]
)
def test_the_checkpoint_of_other_settings_or_another_seed_is_refused(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    path = tmp_path / "training.safetensors"
    trained(options={"checkpoint": path}, steps=1)
    with pytest.raises(CheckpointError, match="other settings, another seed or another"):
        trained(**{"steps": 1, **changes}, options={"checkpoint": path})
    trained(**{"steps": 1, **changes}, options={"continue_from": path})


def test_the_checkpoint_of_another_architecture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "training.safetensors"
    supernet: Supernet = small_supernet()
    trained(options={"checkpoint": path}, steps=1)
    lighter = supernet.full().without(list(supernet.full())[:1])
    with pytest.raises(CheckpointError, match="another architecture"):
        trained(options={"checkpoint": path, "architecture": lighter}, steps=1)


def test_dropping_by_an_unknown_block_is_refused() -> None:
    with pytest.raises(ValueError, match=r"dropping\.by: no block is of 'down\.7'"):
        trained(dropping={"by": {"down.7": 0.5}})
