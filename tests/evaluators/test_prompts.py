"""Prompt sets: their id, and noise that belongs to a prompt and not to a batch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluators.prompts import PromptSet

SHAPE = (4, 8, 8)
PROMPTS = PromptSet(("a", "b", "c"), seed=2)


def test_the_id_stands_for_prompts_their_order_and_the_seed() -> None:
    assert PROMPTS.id == PromptSet(("a", "b", "c"), seed=2).id
    assert PROMPTS.id == replace(PROMPTS, distractors=(("x",), ("y",), ("z",))).id
    others = [
        PromptSet(("b", "a", "c"), seed=2),
        PromptSet(("a", "b"), seed=2),
        PromptSet(("a", "bc"), seed=2),
        PromptSet(("a", "b", "c"), seed=3),
    ]
    assert len({PROMPTS.id, *(other.id for other in others)}) == 1 + len(others)


@given(
    seed=st.integers(0, 2**31),
    start=st.integers(0, 3000),
    count=st.integers(1, 5),
    offset=st.integers(0, 4),
)
@settings(deadline=None, max_examples=20)
def test_the_noise_of_a_prompt_is_the_same_in_every_batch(
    seed: int, start: int, count: int, offset: int
) -> None:
    prompts = PromptSet(("a",), seed)
    rows = range(start, start + count)
    row = rows[offset % count]
    alone = prompts.noise(range(row, row + 1), SHAPE)
    assert torch.equal(prompts.noise(rows, SHAPE)[row - start], alone[0])


def test_noise_differs_between_prompts_and_seeds_and_is_standard_normal() -> None:
    noise = PROMPTS.noise(range(400), SHAPE)
    assert noise.shape == (400, *SHAPE)
    assert len(noise[:, 0, 0, 0].unique()) == 400
    assert not torch.equal(noise[:3], replace(PROMPTS, seed=3).noise(range(3), SHAPE))
    assert noise.mean().item() == pytest.approx(0, abs=0.015)  # 5 standard errors
    assert noise.std().item() == pytest.approx(1, abs=0.012)


def test_neighbouring_seeds_share_no_noise() -> None:
    rows = range(2000)
    first, second = (
        replace(PROMPTS, seed=seed).noise(rows, (1, 1, 2)).flatten(1) for seed in (0, 1)
    )
    assert not {tuple(row) for row in first.tolist()} & {tuple(row) for row in second.tolist()}


def test_impossible_prompt_sets_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one prompt"):
        PromptSet((), seed=0)
    with pytest.raises(ValueError, match="distractors for every prompt or for none"):
        PromptSet(("a", "b"), seed=0, distractors=(("x",),))
