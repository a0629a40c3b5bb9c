"""A cheap model of the CLIP score of sets of removed blocks, learned while a round goes on.

Single effects add up, and pairs of blocks act together: a Gaussian process with the kernel
``a x.y + b (x.y)^2`` over the removed blocks is a Bayesian regression on exactly that, with every
pair's effect unknown beforehand (Rasmussen & Williams 2006, Sec. 2.2 and 4.2.2).
"""

from __future__ import annotations

from collections.abc import Sequence

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
        fits = [
            _fit(products, scores, pairs, noise)
            for pairs in _PAIR_SHARES
            for noise in _NOISE_SHARES
        ]
        _, self._pairs, self._scale, self._inverse, self._weights = max(fits, key=lambda f: f[0])

    def predict(self, removed: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of the score differences of other sets, ``(m,)`` each."""
        products = removed @ self._removed.T
        covariance = products + self._pairs * products**2
        own = removed.sum(axis=1)
        variance = own + self._pairs * own**2 - ((covariance @ self._inverse) * covariance).sum(1)
        return covariance @ self._weights, np.sqrt(self._scale * np.maximum(variance, 0.0))


def _fit(
    products: FloatArray, scores: FloatArray, pairs: float, noise: float
) -> tuple[float, float, float, FloatArray, FloatArray]:
    """Log marginal likelihood up to a constant, and what a prediction needs.

    The scale a has its maximum in closed form.
    """
    covariance = products + pairs * products**2 + noise * np.eye(len(scores))
    inverse = np.linalg.inv(covariance).astype(np.float64, copy=False)
    weights = inverse @ scores
    scale = max(float(scores @ weights) / len(scores), 1e-18)
    _, log_determinant = np.linalg.slogdet(covariance)
    likelihood = -0.5 * (len(scores) * np.log(scale) + log_determinant)
    return float(likelihood), pairs, scale, inverse, weights


def as_rows(sets: Sequence[Sequence[int]], blocks: int) -> FloatArray:
    """Sets of numbers of blocks as rows of 0 and 1."""
    rows = np.zeros((len(sets), blocks))
    for row, members in zip(rows, sets, strict=True):
        row[list(members)] = 1.0
    return rows
