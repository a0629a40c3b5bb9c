"""By what removals are ordered: the paper's value, with what a few prompts cannot tell left out."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from search.decision import Candidate


@dataclass(frozen=True)
class Ranking:
    """Ranks removals by CLIP lost per ms saved (SnapFusion Sec. 3.2), the smallest value first.

    Attributes:
        caution: losses are taken to be this many standard errors larger than measured. With few
            prompts the best values are those with the luckiest error, and what is taken for them
            disappoints.
        negligible: CLIP score that is as good as nothing. A removal that loses less, or even
            gains, counts as losing this much: such removals are ranked by what they save, not by
            the luck of their scores.
    """

    caution: float = 0.0
    negligible: float = -math.inf

    def value(self, candidate: Candidate, useful_ms: float = math.inf) -> float:
        """Of a removal; no more than ``useful_ms`` of what it saves is counted."""
        loss = max(self.worst_loss(candidate), self.negligible)
        useful = max(candidate.delta_latency_ms, -useful_ms)
        return replace(candidate, delta_clip=-loss, delta_latency_ms=useful).value

    def worst_loss(self, candidate: Candidate) -> float:
        """CLIP score that a removal loses, with caution.

        The standard error is the one that all prompts would leave, so that those spared are no
        disadvantage; an unknown one (of one prompt) changes nothing.
        """
        share = candidate.prompts / (candidate.prompts + candidate.spared)
        error = candidate.standard_error * math.sqrt(share)
        return -candidate.delta_clip + (self.caution * error if math.isfinite(error) else 0)
