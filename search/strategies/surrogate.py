"""A cheap model of the CLIP score of sets of removed blocks, learned while a round goes on.

Single effects add up, and pairs of blocks act together: a Gaussian process with the kernel
``a x.y + b (x.y)^2`` over the removed blocks is a Bayesian regression on exactly that, with every
pair's effect unknown beforehand (Rasmussen & Williams 2006, Sec. 2.2 and 4.2.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_PAIR_SHARES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # of b over a
_NOISE_SHARES = (1e-4, 1e-3, 1e-2, 1e-1)  # of noise variance over a


class Surrogate:
    """The Gaussian process, fitted by maximum marginal likelihood on a small grid.

    Args:
        removed: sets of removed blocks, ``(n, blocks)``, 1 for a removed one.
        scores: CLIP score minus that with no block removed, ``(n,)``.
    """

    def __init__(self, removed: FloatArray, scores: FloatArray) -> None:
        self._removed = removed
        products = removed @ removed.T
        fits = [_Fit.of(products, scores, pairs) for pairs in _PAIR_SHARES]
        best = max(fits, key=lambda fit: fit.likelihood)
        self._pairs, self._scale = best.pairs, best.scale
        self._inverse = best.inverse()
        self._weights = self._inverse @ scores

    def predict(self, removed: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of the score differences of other sets, ``(m,)`` each."""
        products = removed @ self._removed.T
        covariance = products + self._pairs * products**2
        own = removed.sum(axis=1)
        variance = own + self._pairs * own**2 - ((covariance @ self._inverse) * covariance).sum(1)
        return covariance @ self._weights, np.sqrt(self._scale * np.maximum(variance, 0.0))


@dataclass(frozen=True)
class _Fit:
    """The best noise for one share of pairs.

    Attributes:
        pairs: b over a.
        noise: its variance over a.
        scale: a, which has its maximum in closed form.
        likelihood: logarithm of the marginal one, up to a constant.
        values, vectors: of the covariance without noise.
    """

    pairs: float
    noise: float
    scale: float
    likelihood: float
    values: FloatArray
    vectors: FloatArray

    @classmethod
    def of(cls, products: FloatArray, scores: FloatArray, pairs: float) -> _Fit:
        values, vectors = np.linalg.eigh(products + pairs * products**2)
        values = np.maximum(values, 0.0)
        rotated = (vectors.T @ scores) ** 2
        fits = []
        for noise in _NOISE_SHARES:
            scale = max(float((rotated / (values + noise)).mean()), 1e-18)
            likelihood = -0.5 * float(len(scores) * np.log(scale) + np.log(values + noise).sum())
            fits.append(cls(pairs, noise, scale, likelihood, values, vectors))
        return max(fits, key=lambda fit: fit.likelihood)

    def inverse(self) -> FloatArray:
        """Of the covariance with noise."""
        scaled: FloatArray = self.vectors / (self.values + self.noise)
        return scaled @ self.vectors.T


def as_rows(sets: Sequence[Sequence[int]], blocks: int) -> FloatArray:
    """Sets of numbers of blocks as rows of 0 and 1."""
    rows = np.zeros((len(sets), blocks))
    members = [i for each in sets for i in each]
    rows[np.repeat(np.arange(len(sets)), [len(each) for each in sets]), members] = 1.0
    return rows
