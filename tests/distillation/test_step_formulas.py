"""Formulas of step distillation against diffusers, and against derivations written down here."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from distillation.noise_levels import NoiseLevel, noise_level
from distillation.step_loss import (
    Levels,
    distillation_loss,
    guided,
    implied_clean,
    total_loss,
    two_steps,
)
from distillation.step_schedule import END, StepSchedule

SCHEDULERS: dict[str, dict[str, Any]] = {
    "Stable Diffusion's": {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "timestep_spacing": "leading",
        "steps_offset": 1,
        "set_alpha_to_one": False,
    },
    "cosine": {"beta_schedule": "squaredcos_cap_v2", "timestep_spacing": "trailing"},
    "ends in noise alone": {
        "beta_schedule": "scaled_linear",
        "timestep_spacing": "trailing",
        "rescale_betas_zero_snr": True,
    },
    "evenly spread": {"beta_schedule": "squaredcos_cap_v2", "timestep_spacing": "linspace"},
}


def scheduler(name: str, predicts: str = "v_prediction") -> DDIMScheduler:
    return DDIMScheduler(**SCHEDULERS[name], prediction_type=predicts, clip_sample=False)


def drawn(seed: int, count: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 4, 2, 2, generator=generator, dtype=torch.float64)


def level(name: str, timestep: int) -> NoiseLevel:
    return noise_level(scheduler(name), torch.tensor([timestep]), drawn(0))


@pytest.mark.parametrize("name", SCHEDULERS)
def test_clean_latents_and_noise_come_back_from_the_velocity_at_every_timestep(name: str) -> None:
    every = torch.arange(1000)
    clean, noise = drawn(1, 1000).float(), drawn(2, 1000).float()
    at = noise_level(scheduler(name), every, clean)
    noisy, velocity = at.noisy(clean, noise), at.velocity(clean, noise)
    torch.testing.assert_close(at.clean(noisy, velocity), clean, rtol=0, atol=5e-6)
    torch.testing.assert_close(at.noise(noisy, velocity), noise, rtol=0, atol=5e-6)
    stock = scheduler(name).get_velocity(clean, noise, every)
    torch.testing.assert_close(velocity, stock, rtol=0, atol=1e-5)
    assert torch.equal(at.as_velocity(velocity, noisy, "v_prediction"), velocity)


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("predicts", ["epsilon", "sample"])
def test_other_predictions_say_the_same_where_they_say_anything(name: str, predicts: str) -> None:
    every = torch.arange(1, 999)
    clean, noise = drawn(1, 998), drawn(2, 998)
    at = noise_level(scheduler(name), every, clean)
    answer = noise if predicts == "epsilon" else clean
    velocity = at.as_velocity(answer, at.noisy(clean, noise), predicts)
    torch.testing.assert_close(velocity, at.velocity(clean, noise), rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match="use epsilon, v_prediction or sample"):
        at.as_velocity(answer, noise, "score")


@pytest.mark.parametrize(
    ("name", "predicts"),
    [
        *((name, "v_prediction") for name in SCHEDULERS),
        # Noise says nothing of a signal that is not there.
        *((name, "epsilon") for name in SCHEDULERS if "noise alone" not in name),
    ],
)
@pytest.mark.parametrize("steps", [1, 3, 8, 16, 50])
def test_a_step_is_that_of_a_stock_sampler(name: str, predicts: str, steps: int) -> None:
    """From every timestep of its list, the last one to the end included."""
    stock = scheduler(name, predicts)
    stock.set_timesteps(steps)
    schedule = StepSchedule.of(scheduler(name), steps)
    assert schedule.start.tolist() == stock.timesteps.tolist()
    noisy, answer = drawn(3), drawn(4)
    for start, end in zip(schedule.start.tolist(), schedule.end.tolist(), strict=True):
        expected = stock.step(answer, start, noisy).prev_sample
        here = level(name, start)
        velocity = here.as_velocity(answer, noisy, predicts)
        reached = here.step(noisy, velocity, level(name, end))
        torch.testing.assert_close(reached, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("steps", [1, 2, 4, 8, 16, 500])
def test_two_steps_of_the_teacher_lie_within_one_of_the_student(name: str, steps: int) -> None:
    schedule = StepSchedule.of(scheduler(name), steps)
    assert len(schedule) == steps
    assert (schedule.end < schedule.start).all()
    assert ((schedule.end <= schedule.middle) & (schedule.middle <= schedule.start)).all()
    inside = schedule.end > END
    assert (schedule.start - schedule.end)[inside].unique().tolist() in ([], [1000 // steps])
    assert (schedule.start - schedule.middle)[inside].unique().tolist() in ([], [500 // steps])
    assert schedule.end[-1] == (END if schedule.start[-1] < 1000 // steps else 0)


@pytest.mark.parametrize("steps", [0, 501])
def test_steps_that_there_are_no_timesteps_for_are_refused(steps: int) -> None:
    with pytest.raises(ValueError, match="give 1 to 500"):
        StepSchedule.of(scheduler("cosine"), steps)


def slope(noisy: Tensor, _: NoiseLevel, timestep: Tensor) -> Tensor:
    """A teacher that answers something of both its inputs."""
    return 0.3 * noisy.flip(-1) + 0.001 * timestep.view(-1, 1, 1, 1)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_teacher_goes_where_a_stock_sampler_with_twice_the_steps_goes(name: str) -> None:
    """10 and 20 steps: both divide 1,000 timesteps."""
    schedule = StepSchedule.of(scheduler(name), 10)
    stock = scheduler(name)
    stock.set_timesteps(20)
    noisy = drawn(5)
    for number in range(len(schedule)):
        start, middle, end = (
            each[number : number + 1] for each in (schedule.start, schedule.middle, schedule.end)
        )
        levels = levels_of(name, start, middle, end)
        reached = two_steps(slope, noisy, levels, (start, middle))
        expected = noisy
        for timestep in (start, middle):
            if timestep > END:
                answer = slope(expected, levels.start, timestep)
                expected = stock.step(answer, int(timestep), expected).prev_sample
        torch.testing.assert_close(reached, expected, rtol=1e-5, atol=1e-5)


def levels_of(name: str, start: Tensor, middle: Tensor, end: Tensor) -> Levels:
    own, like = scheduler(name), drawn(0)
    return Levels(*(noise_level(own, each, like) for each in (start, middle, end)))


def triple(name: str, steps: int) -> Levels:
    """All steps of a student, as a batch."""
    schedule = StepSchedule.of(scheduler(name), steps)
    return levels_of(name, schedule.start, schedule.middle, schedule.end)


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("steps", [1, 3, 8])
def test_a_student_that_hits_the_implied_latents_ends_where_its_teacher_did(
    name: str, steps: int
) -> None:
    """Solved for the velocity that leads there: ``x = alpha z - sigma v``."""
    levels = triple(name, steps)
    noisy, reached = drawn(6, steps), drawn(7, steps)
    target = implied_clean(noisy, reached, levels)
    velocity = (levels.start.alpha * noisy - target) / levels.start.sigma
    torch.testing.assert_close(levels.start.step(noisy, velocity, levels.end), reached)
    losses = distillation_loss(velocity, noisy, reached, levels)
    torch.testing.assert_close(losses, torch.zeros(steps, dtype=torch.float64), atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_step_to_clean_latents_implies_themselves(name: str) -> None:
    levels = triple(name, 1)
    if float(levels.end.sigma) == 0:
        noisy, reached = drawn(6), drawn(7)
        torch.testing.assert_close(implied_clean(noisy, reached, levels), reached)
    else:  # Stable Diffusion's schedulers end at the level of timestep 0
        assert float(levels.end.alpha) == pytest.approx((1 - 0.00085) ** 0.5)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([*SCHEDULERS]), st.sampled_from([2, 5, 8, 16]), st.integers(0, 99))
def test_the_loss_is_equation_9(name: str, steps: int, seed: int) -> None:
    """Written out, number by number, in the paper's letters."""
    schedule = StepSchedule.of(scheduler(name), steps)
    cumulative = scheduler(name).alphas_cumprod.double()
    final = float(scheduler(name).final_alpha_cumprod)
    noisy, student, first, second = (drawn(4 * seed + i, steps) for i in range(4))

    def letters(timestep: int) -> tuple[float, float]:
        at = final if timestep < 0 else float(cumulative[timestep])
        return at**0.5, (1 - at) ** 0.5

    expected, reached = [], []
    for i in range(steps):
        (a, s), (a1, s1), (a2, s2) = (
            letters(int(each[i])) for each in (schedule.start, schedule.middle, schedule.end)
        )
        z1 = a1 * (a * noisy[i] - s * first[i]) + s1 * (s * noisy[i] + a * first[i])
        z2 = a2 * (a1 * z1 - s1 * second[i]) + s2 * (s1 * z1 + a1 * second[i])
        target = (z2 - s2 / s * noisy[i]) / (a2 - s2 / s * a)
        error = ((a * noisy[i] - s * student[i]) - target) ** 2
        expected.append(max(a**2 / s**2, 1) * error.mean())
        reached.append(z2)
    answers = iter((first, second))
    levels = levels_of(name, schedule.start, schedule.middle, schedule.end)
    timesteps = (schedule.start, schedule.middle)
    torch.testing.assert_close(
        own := two_steps(lambda *_: next(answers), noisy, levels, timesteps), torch.stack(reached)
    )
    torch.testing.assert_close(
        distillation_loss(student, noisy, own, levels), torch.stack(expected), rtol=1e-6, atol=1e-9
    )


@given(st.floats(1, 14))
def test_guidance_moves_away_from_no_prompt(w: float) -> None:
    with_prompt, without = drawn(1), drawn(2)
    answer = guided(with_prompt, without, torch.tensor([w], dtype=torch.float64))
    torch.testing.assert_close(answer, without + w * (with_prompt - without))
    ones = torch.ones(1, dtype=torch.float64)
    assert torch.equal(guided(with_prompt, without, ones), with_prompt), "guidance 1 is none"


def test_guidance_of_noise_is_guidance_of_velocities() -> None:
    at, noisy, w = level("cosine", 400), drawn(3), torch.tensor([7.5], dtype=torch.float64)
    with_prompt, without = drawn(1), drawn(2)
    as_velocity = [at.as_velocity(each, noisy, "epsilon") for each in (with_prompt, without)]
    torch.testing.assert_close(
        at.as_velocity(guided(with_prompt, without, w), noisy, "epsilon"), guided(*as_velocity, w)
    )


def test_the_denoising_loss_is_brought_to_the_size_of_the_other() -> None:
    distilled = torch.tensor(0.5, requires_grad=True)
    original = torch.tensor(8.0, requires_grad=True)
    total = total_loss(distilled, original, 0.2, (distilled, original))
    assert total.item() == pytest.approx(0.5 + 0.2 * 0.5)
    total.backward()
    # The factor is no path for gradients: each loss keeps its own direction.
    assert distilled.grad == pytest.approx(1.0)
    assert original.grad == pytest.approx(0.2 * 0.5 / 8.0)
    assert total_loss(distilled, original, 0.2).item() == pytest.approx(2.1)
    nothing = torch.tensor(0.0)
    assert total_loss(nothing, nothing, 0.2, (nothing, nothing)) == 0


def test_the_scheduler_is_left_as_it_is() -> None:
    own = scheduler("cosine")
    before = copy.deepcopy(own.timesteps)
    StepSchedule.of(own, 8)
    assert torch.equal(own.timesteps, before)
