"""How far the mean of the prompts drawn may be from that of all: valid however often one looks.

A race looks at its scores again and again and stops when it has seen enough, so intervals for a
fixed number of prompts would be wrong. A *confidence sequence* holds at all looks at once.
"""

from __future__ import annotations

import math

_TUNED_AT = 64  # prompts at which the sequence is about as tight as it can be


def half_width(drawn: int, level: float, prompts: int | None = None) -> float:
    """Of a two-sided confidence sequence for a mean, in standard deviations of one prompt.

    The prompts are drawn in random order and without replacement. With deviations x_i from the
    mean of all ``prompts``, M_n = (x_1 + ... + x_n) / (prompts - n) is then a martingale (Serfling
    1974) of variance v = n / (prompts (prompts - n)), which the normal mixture boundary
    sqrt((v + r) ln((v + r) / (r level^2))) holds at every n at once (Howard et al. 2021, Eq. 14).
    As in asymptotic confidence sequences (Waudby-Smith et al. 2024), the standard deviation may be
    estimated from the prompts drawn, unless a few of them make all the difference (of log-normal
    scores with deviation 1 it misses 7 % in place of 5 %). It is 0 once all are drawn.

    Args:
        drawn: number of prompts drawn, n, at least 1.
        level: chance that the sequence ever misses, in (0, 1).
        prompts: how many there are; None for the mean over all that could ever be.
    """
    if prompts is None:
        variance, spread = float(drawn), 1 / drawn
        tuned_at = float(_TUNED_AT)
    elif drawn >= prompts:
        return 0.0
    else:
        variance = drawn / (prompts * (prompts - drawn))
        spread = (prompts - drawn) / drawn
        tuned = min(_TUNED_AT, prompts / 2)
        tuned_at = tuned / (prompts * (prompts - tuned))
    logs = -2 * math.log(level)
    r = tuned_at / (logs + math.log(1 + logs))
    return spread * math.sqrt((variance + r) * math.log((variance + r) / (r * level**2)))
