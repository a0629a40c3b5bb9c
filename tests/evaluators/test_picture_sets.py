"""FID and KID against what their definitions give by other means."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from evaluators.picture_sets import inception_features, set_distance


def features(count: int, width: int, seed: int) -> Tensor:
    """Rows of correlated normal features."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(width, width, generator=generator)
    return torch.randn(count, width, generator=generator) @ mixed + mixed[0]


def frechet(real: Tensor, drawn: Tensor) -> float:
    """The definition, with the matrix root by the eigenvectors of a symmetric product."""
    real, drawn = real.double(), drawn.double()
    shift = (real.mean(0) - drawn.mean(0)).square().sum()
    first, second = real.T.cov(), drawn.T.cov()
    values, vectors = torch.linalg.eigh(first)
    root = vectors @ values.clamp(min=0).sqrt().diag() @ vectors.T
    product = torch.linalg.eigvalsh(root @ second @ root)
    cross = product.clamp(min=0).sqrt().sum()
    return (shift + first.trace() + second.trace() - 2 * cross).item()


def kernel_distance(real: list[list[float]], drawn: list[list[float]]) -> float:
    """The unbiased estimate of the squared MMD, pair by pair."""

    def kernel(x: list[float], y: list[float]) -> float:
        return (math.fsum(a * b for a, b in zip(x, y, strict=True)) / len(x) + 1) ** 3

    def within(rows: list[list[float]]) -> float:
        return math.fsum(kernel(*pair) for pair in itertools.permutations(rows, 2))

    pairs = len(real) * (len(real) - 1)
    across = math.fsum(kernel(x, y) for x in real for y in drawn) / len(real) ** 2
    return (within(real) + within(drawn)) / pairs - 2 * across


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 30), st.integers(2, 30), st.integers(2, 6), st.integers(0, 2**16))
def test_fid_is_the_distance_between_two_normal_distributions(
    m: int, n: int, width: int, seed: int
) -> None:
    real, drawn = features(m, width, seed), features(n, width, seed + 1)
    expected = frechet(real, drawn)
    assert set_distance(real, drawn).fid == pytest.approx(expected, rel=1e-5, abs=1e-4)


def test_kid_of_sets_of_one_size_is_the_unbiased_estimate() -> None:
    real, drawn = features(12, 4, 0), features(12, 4, 1)
    expected = kernel_distance(real.tolist(), drawn.tolist())
    assert set_distance(real, drawn).kid == pytest.approx(expected, rel=1e-6)


def test_kid_of_sets_of_two_sizes_is_a_mean_over_subsets() -> None:
    real, drawn = features(60, 3, 2), features(12, 3, 3)
    first = set_distance(real, drawn)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    assert set_distance(real, drawn) == first  # the subsets are always the same ones
    assert torch.equal(torch.random.get_rng_state(), before)
    subsets = [kernel_distance(real[i : i + 12].tolist(), drawn.tolist()) for i in range(0, 60, 12)]
    assert min(subsets) < first.kid < max(subsets)


def test_a_set_is_at_no_distance_from_itself() -> None:
    own = features(40, 5, 4)
    distance = set_distance(own, own.flip(0))
    assert distance.fid == pytest.approx(0, abs=1e-5)
    assert distance.kid <= 0
    shifted = set_distance(own, own + 20)
    assert shifted.fid == pytest.approx(5 * 20**2, rel=1e-5)
    assert shifted.kid > 0


def test_without_inception_it_says_what_to_install_or_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchmetrics.image.fid._TORCH_FIDELITY_AVAILABLE", False)
    with pytest.raises(ValueError, match=r"pip install torch-fidelity, or take comp.* 'judge'$"):
        inception_features()
