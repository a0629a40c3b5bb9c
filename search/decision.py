"""What the controller decided and why: candidates with their values, and one line for people.

Signs, said once: ``delta_clip`` and ``delta_latency_ms`` are *after minus before*, so a removal
has a negative ``delta_latency_ms`` and usually a negative ``delta_clip``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev
from typing import Any

from search.action import Action
from supernet.architecture import Architecture, BlockId


@dataclass(frozen=True)
class Candidate:
    """One action as scored.

    Attributes:
        action: what would be done.
        clip: mean CLIP score with the action executed.
        delta_clip: CLIP score after minus before.
        standard_error: of ``delta_clip``, from the paired differences over the prompts.
        delta_latency_ms: latency after minus before by the table, in ms.
    """

    action: Action
    clip: float
    delta_clip: float
    standard_error: float
    delta_latency_ms: float

    @property
    def value(self) -> float:
        """The paper's ΔCLIP/ΔLatency (Sec. 3.2): CLIP score per ms.

        For a removal: CLIP lost per ms saved, the lower the better to remove. For an addition:
        CLIP gained per ms spent, the higher the better to add. Where no time changes hands, it is
        the limit: infinite, with the sign of the loss or the gain.
        """
        if self.delta_latency_ms == 0:
            towards = self.action.change * self.delta_clip
            return math.copysign(math.inf, towards) if towards else 0.0
        return self.delta_clip / self.delta_latency_ms

    def cautious_value(self, caution: float, useful_ms: float = math.inf) -> float:
        """The value if CLIP turned out ``caution`` standard errors worse than measured.

        With few prompts the best values are those with the luckiest error, and what is taken for
        them disappoints. An unknown error (of one prompt) changes nothing. No more than
        ``useful_ms`` of what a removal saves is counted.
        """
        known = math.isfinite(self.standard_error)
        worse = self.delta_clip - caution * self.standard_error if known else self.delta_clip
        useful = max(self.delta_latency_ms, -useful_ms)
        return replace(self, delta_clip=worse, delta_latency_ms=useful).value

    @property
    def distinguishable(self) -> bool:
        """Whether ``delta_clip`` is further from zero than 1.96 standard errors."""
        return abs(self.delta_clip) > 1.96 * self.standard_error

    def to_json(self) -> dict[str, Any]:
        return {
            "action": str(self.action),
            "clip": self.clip,
            "delta_clip": self.delta_clip,
            "standard_error": self.standard_error,
            "delta_latency_ms": self.delta_latency_ms,
            "value": self.value if math.isfinite(self.value) else None,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any], full: Architecture) -> Candidate:
        return cls(
            Action.parse(value["action"], full),
            value["clip"],
            value["delta_clip"],
            value["standard_error"],
            value["delta_latency_ms"],
        )


def score_action(
    action: Action,
    before: Sequence[float],
    after: Sequence[float],
    delta_latency_ms: float,
) -> Candidate:
    """Judge an action by the CLIP scores of the same prompts before and after it."""
    differences = [b - a for a, b in zip(before, after, strict=True)]
    error = stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else math.inf
    return Candidate(action, mean(after), mean(differences), error, delta_latency_ms)


@dataclass(frozen=True)
class Decision:
    """One step of the controller.

    Attributes:
        round: from 1.
        phase: ``remove`` while above the latency goal, ``add`` where there is slack below it.
        weights: digest of the UNet weights that all scores were taken with.
        before: the architecture that was judged.
        clip_before: its mean CLIP score.
        latency_before_ms: its latency by the table.
        candidates: every action of the set, with its scores, in forward order.
        executed: the actions executed, best first; each as it was last scored, which is on top of
            those before it if the group was rechecked.
        after: the architecture after them.
        clip_after: its CLIP score, measured with all of them executed at once.
        latency_after_ms: its latency by the table.
    """

    round: int
    phase: str
    weights: str
    before: Architecture
    clip_before: float
    latency_before_ms: float
    candidates: tuple[Candidate, ...]
    executed: tuple[Candidate, ...]
    after: Architecture
    clip_after: float
    latency_after_ms: float

    @property
    def taken(self) -> tuple[Action, ...]:
        """The actions executed, best first."""
        return tuple(candidate.action for candidate in self.executed)

    def explain(self) -> list[str]:
        """One line for every action executed, and one for their joint effect."""
        if not self.executed:
            return [f"round {self.round} ({self.phase}): no action pays, nothing changed"]
        alone = {candidate.action: candidate.delta_clip for candidate in self.candidates}
        lines = []
        for c in self.executed:
            verb = "removed" if c.action.change < 0 else "added"
            doubt = "" if c.distinguishable else ", not distinguishable from zero"
            single = alone[c.action]
            by_itself = "" if single == c.delta_clip else f"; alone {single:+.4f}"
            lines.append(
                f"{verb} {c.action.target}: {c.delta_clip:+.4f} CLIP "
                f"(s.e. {c.standard_error:.4f}{doubt}{by_itself}) "
                f"for {c.delta_latency_ms:+.2f} ms, value {c.value:.2e} per ms"
            )
        expected = sum(alone[action] for action in self.taken)
        lines.append(
            f"together: CLIP {self.clip_before:.4f} -> {self.clip_after:.4f} "
            f"({self.clip_after - self.clip_before:+.4f}; sum of single effects {expected:+.4f}), "
            f"latency {self.latency_before_ms:.2f} -> {self.latency_after_ms:.2f} ms"
        )
        return lines

    def to_json(self) -> dict[str, Any]:
        return {
            "round": self.round,
            "phase": self.phase,
            "weights": self.weights,
            "before": _counts(self.before),
            "clip_before": self.clip_before,
            "latency_before_ms": self.latency_before_ms,
            "candidates": [candidate.to_json() for candidate in self.candidates],
            "executed": [candidate.to_json() for candidate in self.executed],
            "after": _counts(self.after),
            "clip_after": self.clip_after,
            "latency_after_ms": self.latency_after_ms,
            "explanation": self.explain(),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any], full: Architecture) -> Decision:
        """The inverse of :meth:`to_json`; ``full`` is the base with every block once."""
        return cls(
            round=value["round"],
            phase=value["phase"],
            weights=value["weights"],
            before=_architecture(value["before"], full),
            clip_before=value["clip_before"],
            latency_before_ms=value["latency_before_ms"],
            candidates=tuple(Candidate.from_json(c, full) for c in value["candidates"]),
            executed=tuple(Candidate.from_json(c, full) for c in value["executed"]),
            after=_architecture(value["after"], full),
            clip_after=value["clip_after"],
            latency_after_ms=value["latency_after_ms"],
        )


def _counts(architecture: Architecture) -> dict[str, int]:
    """Blocks that differ from the base, as text."""
    return {str(block): count for block, count in architecture.blocks if count != 1}


def _architecture(counts: dict[str, int], full: Architecture) -> Architecture:
    return full.with_multiplicities({BlockId.parse(text): n for text, n in counts.items()})
