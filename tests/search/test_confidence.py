"""The confidence sequence: it holds however often one looks, and is no wider than it has to be."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from search.confidence import half_width

PROMPTS = 512
RUNGS = (32, 64, 128, 256)
TRIES = 2000


@pytest.mark.parametrize("kind", ["normal", "heavy tails", "skewed", "mostly nothing"])
@pytest.mark.parametrize("level", [0.05, 0.2])
def test_it_seldom_misses_the_mean_of_all_prompts_at_any_look(kind: str, level: float) -> None:
    """Looked at four times, with the deviation that the prompts drawn have."""
    generator = torch.Generator().manual_seed(0)
    shape = (TRIES, PROMPTS)
    normal = torch.randn(shape, generator=generator, dtype=torch.float64)
    other = torch.randn(shape, generator=generator, dtype=torch.float64)
    scores = {
        "normal": normal,
        "heavy tails": normal / (other.abs() + 0.5),
        "skewed": (normal / 2).exp(),
        "mostly nothing": normal * (other > 1),
    }[kind]
    missed = torch.zeros(TRIES, dtype=torch.bool)
    for rung in RUNGS:
        drawn = scores[:, :rung]
        error = (drawn.mean(dim=1) - scores.mean(dim=1)).abs()
        missed |= error > half_width(rung, level, PROMPTS) * drawn.std(dim=1)
    assert missed.double().mean() <= level


def test_a_fixed_interval_would_not_hold() -> None:
    """The reason for all this: 95 % at each of many looks is far less at all of them."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn((TRIES, 4096), generator=generator, dtype=torch.float64)
    counts = torch.arange(1, 4097)
    means = scores.cumsum(dim=1) / counts
    looks = counts >= RUNGS[0]
    fixed = (means.abs() > 1.96 / counts.sqrt())[:, looks].any(dim=1)
    widths = torch.tensor([half_width(int(n), 0.05) for n in counts[looks]], dtype=torch.float64)
    held = (means[:, looks].abs() > widths).any(dim=1)
    assert fixed.double().mean() > 0.3
    assert held.double().mean() <= 0.05


@given(st.integers(1, 500), st.floats(1e-4, 0.5))
def test_it_is_between_a_fixed_interval_and_some_times_that(drawn: int, level: float) -> None:
    fixed = math.sqrt(2) * torch.special.erfinv(torch.tensor(1 - level)).item() / math.sqrt(drawn)
    assert fixed < half_width(drawn, level) < 12 * fixed


@given(st.integers(2, 400), st.floats(1e-3, 0.5))
def test_the_more_of_all_prompts_are_drawn_the_narrower(prompts: int, level: float) -> None:
    widths = [half_width(drawn, level, prompts) for drawn in range(1, prompts + 1)]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] == 0.0


def test_of_very_many_prompts_it_is_that_of_all_that_could_ever_be() -> None:
    assert half_width(50, 0.05, 10**9) == pytest.approx(half_width(50, 0.05), rel=1e-6)


def test_its_martingale_has_the_variance_that_it_says() -> None:
    """Sums of prompts drawn without replacement, over what is left: against drawing them."""
    generator = torch.Generator().manual_seed(0)
    population = torch.randn(40, generator=generator, dtype=torch.float64).exp()
    deviations = population - population.mean()
    order = torch.rand((200_000, 40), generator=generator).argsort(dim=1)
    for drawn in (5, 20, 30):
        sums = deviations[order[:, :drawn]].sum(dim=1) / (40 - drawn)
        expected = population.var() * drawn / (40 * (40 - drawn))
        assert sums.var() == pytest.approx(expected.item(), rel=0.02)
