"""Distilling steps on small UNets: what is asked of whom, and that a training can be stopped."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from small_unets import BATCH, SDXL, Stopped, batches, equal, sdxl_batches, small_unet
from torch import Tensor

from distillation import step_training
from distillation.step_loss import two_steps
from distillation.step_training import Draw, StepDistillation, distill_steps
from experiments.steps.kept_targets import KeptTargets

SCHEDULER = DDIMScheduler(
    beta_schedule="squaredcos_cap_v2",
    prediction_type="v_prediction",
    timestep_spacing="trailing",
    clip_sample=False,
)
EMPTY = torch.zeros(1, 5, 12)


def settings(**changes: Any) -> StepDistillation:
    values = {
        "steps": 4,
        "batch_size": BATCH,
        "student_steps": 8,
        "warmup_steps": 1,
        "precision": "fp32",
        "checkpoint_every": 2,
        "ema_decay": 0.5,
    }
    return StepDistillation(**{**values, **changes})


def distilled(
    teacher: UNet2DConditionModel | None = None,
    checkpoint: Path | None = None,
    on_progress: Callable[[int, dict[str, float]], None] | None = None,
    seed: int = 0,
    targets: KeptTargets | None = None,
    **changes: Any,
) -> dict[str, Tensor]:
    """The weights of a small student after learning from another UNet."""
    student = small_unet(1)
    distill_steps(
        student,
        teacher or small_unet(2),
        batches,
        SCHEDULER,
        settings(**changes),
        EMPTY,
        seed,
        targets=targets,
        checkpoint=checkpoint,
        on_progress=on_progress,
    )
    assert not student.training
    return {name: value.clone() for name, value in student.state_dict().items()}


@pytest.mark.parametrize("guided_share", [0.0, 1.0])
def test_a_student_comes_closer_to_its_teacher(guided_share: float) -> None:
    losses: list[float] = []
    teacher = small_unet(2)
    before = copy.deepcopy(teacher.state_dict())
    distilled(
        teacher,
        steps=60,
        learning_rate=5e-3,
        guided_share=guided_share,
        guidance_scale=(2.0, 3.0),
        original=0.0,
        on_progress=lambda _, figures: losses.append(figures["loss"]),
    )
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])
    assert equal(before, teacher.state_dict())
    assert all(weight.grad is None for weight in teacher.parameters())


@pytest.mark.parametrize(("guided_share", "times"), [(0.0, 1), (1.0, 2)])
def test_each_step_asks_no_more_than_it_needs(
    monkeypatch: pytest.MonkeyPatch, guided_share: float, times: int
) -> None:
    """The teacher twice, the student once; with guidance twice as much in as many passes."""
    asked: list[tuple[str, int]] = []
    forward = UNet2DConditionModel.forward
    teacher = small_unet(2)

    def counted(self: UNet2DConditionModel, sample: Tensor, *args: Any, **kwargs: Any) -> Any:
        asked.append(("teacher" if self is teacher else "student", len(sample)))
        return forward(self, sample, *args, **kwargs)

    monkeypatch.setattr(UNet2DConditionModel, "forward", counted)
    distilled(teacher, steps=2, guided_share=guided_share)
    rows = BATCH * times
    assert asked == [("teacher", rows), ("teacher", rows), ("student", rows)] * 2


def test_kept_targets_are_asked_for_once_and_change_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    worked_out = 0

    def counted(*arguments: Any) -> Tensor:
        nonlocal worked_out
        worked_out += 1
        return two_steps(*arguments)

    monkeypatch.setattr(step_training, "two_steps", counted)
    kept, shares = KeptTargets(tmp_path), (0.5, 0.5, 1.0, 0.0)
    taught = []
    for share in shares:
        taught.append(distilled(targets=kept, guided_share=share, accumulation=2))
    assert worked_out == 4 * 2 * 2, "parts of four steps, with and without guidance"
    for own, share in zip(taught, shares, strict=True):
        assert equal(own, distilled(guided_share=share, accumulation=2))


def test_sdxl_s_half_without_prompt_has_the_pooled_text_of_none_and_the_same_sizes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    student, teacher = small_unet(1, **SDXL), small_unet(2, **SDXL)
    asked: list[dict[str, Tensor]] = []
    forward = UNet2DConditionModel.forward

    def heard(self: UNet2DConditionModel, *args: Any, **kwargs: Any) -> Any:
        asked.append(kwargs["added_cond_kwargs"])
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(UNet2DConditionModel, "forward", heard)
    chosen = settings(steps=1, guided_share=1.0)
    arguments = (student, teacher, sdxl_batches, SCHEDULER, chosen, EMPTY, 0)
    nothing = torch.full((1, 3), 0.25)
    distill_steps(*arguments, empty_text_embeds=nothing)
    given = sdxl_batches(0, range(BATCH)).added_cond_kwargs
    assert given is not None
    assert len(asked) == 3
    for added in asked:
        own, empty = added["text_embeds"].chunk(2)
        assert torch.equal(own, given["text_embeds"])
        assert torch.equal(empty, nothing.expand(BATCH, -1))
        assert all(torch.equal(half, given["time_ids"]) for half in added["time_ids"].chunk(2))
    with pytest.raises(ValueError, match="an SDXL UNet needs empty_text_embeds"):
        distill_steps(*arguments)


def test_guidance_of_one_is_the_vanilla_loss() -> None:
    """Up to rounding: half of a pass is without prompts, and counts for nothing."""
    vanilla = distilled(guided_share=0.0)
    guided = distilled(guided_share=1.0, guidance_scale=(1.0, 1.0))
    for name in vanilla:
        torch.testing.assert_close(vanilla[name], guided[name], rtol=0, atol=2e-4)
    other = distilled(guided_share=1.0, guidance_scale=(7.0, 7.0))
    assert not all(torch.allclose(vanilla[name], other[name], atol=2e-4) for name in vanilla)


@pytest.mark.parametrize("moment", [1, 2, 3])
def test_a_training_that_is_stopped_goes_on_to_the_same_end(tmp_path: Path, moment: int) -> None:
    def stop(done: int, _: dict[str, float]) -> None:
        if done == moment:
            raise Stopped

    checkpoint = tmp_path / "training.safetensors"
    with pytest.raises(Stopped):
        distilled(checkpoint=checkpoint, on_progress=stop, guided_share=0.5)
    again = distilled(checkpoint=checkpoint, guided_share=0.5)
    assert equal(again, distilled(guided_share=0.5))
    with pytest.raises(ValueError, match="training"):
        distilled(checkpoint=checkpoint, guided_share=0.4)


def test_parts_of_a_batch_are_the_batch() -> None:
    """The denoising loss is scaled by part, so it is left out here."""
    whole, parts = (distilled(accumulation=n, original=0.0, guided_share=0.5) for n in (1, 2))
    for name in whole:
        torch.testing.assert_close(whole[name], parts[name], rtol=0, atol=1e-5)


def test_draws_depend_on_seed_and_step_alone_and_keep_their_shares() -> None:
    chosen = settings(guided_share=0.3, batch_size=16, guidance_scale=(2.0, 14.0))
    shape = (16, 4, 2, 2)
    draws = [Draw.of(shape, chosen, 0, step) for step in range(600)]
    assert torch.equal(draws[7].noise, Draw.of(shape, chosen, 0, 7).noise)
    assert not torch.equal(draws[7].noise, Draw.of(shape, chosen, 1, 7).noise)
    scales = [draw.guidance_scale for draw in draws if draw.guidance_scale is not None]
    assert len(scales) / 600 == pytest.approx(0.3, abs=0.06)
    every = torch.cat(scales)
    assert every.min() >= 2
    assert every.max() <= 14
    assert every.mean() == pytest.approx(8, abs=0.3)
    for draw in draws[:20]:
        assert draw.steps.bincount(minlength=8).tolist() == [2] * 8


def test_teachers_of_noise_teach_too_and_students_of_noise_are_refused() -> None:
    student, teacher = small_unet(1), small_unet(2)
    arguments = (student, teacher, batches)
    losses: list[float] = []
    distill_steps(
        *arguments,
        SCHEDULER,
        settings(original=0.0),
        EMPTY,
        0,
        teacher_predicts="epsilon",
        on_progress=lambda _, figures: losses.append(figures["loss"]),
    )
    by_velocity: list[float] = []
    distilled(
        teacher, original=0.0, on_progress=lambda _, figures: by_velocity.append(figures["loss"])
    )
    assert losses[0] != by_velocity[0]
    of_noise = DDIMScheduler.from_config(SCHEDULER.config, prediction_type="epsilon")
    with pytest.raises(ValueError, match="fine-tune the UNet with v_prediction first"):
        distill_steps(*arguments, of_noise, settings(), EMPTY, 0)


@pytest.mark.parametrize("scale", [(0.5, 2.0), (3.0, 2.0)])
def test_ranges_of_guidance_that_mean_nothing_are_refused(scale: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="give a range from 1 on"):
        settings(guidance_scale=scale)
