"""What the controller decided and why: candidates with their values, and one line for people.

Signs, said once: ``delta_clip`` and ``delta_latency_ms`` are *after minus before*, so a removal
has a negative ``delta_latency_ms`` and usually a negative ``delta_clip``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from evaluators.job import Scores
from search.action import Action
from search.confidence import half_width
from supernet.architecture import Architecture, BlockId

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class SecondOpinion:
    """What a second judge says of an action.

    Attributes:
        delta: its score after minus before.
        standard_error: of it, from the paired differences over the prompts.
    """

    delta: float
    standard_error: float

    def __str__(self) -> str:
        return f"{self.delta:+.4f} (s.e. {self.standard_error:.4f})"


@dataclass(frozen=True)
class Candidate:
    """One action as scored.

    Attributes:
        action: what would be done.
        clip: mean CLIP score with the action executed.
        delta_clip: CLIP score after minus before.
        standard_error: of ``delta_clip``, from the paired differences over the prompts.
        delta_latency_ms: latency after minus before by the table, in ms.
        prompts: that it was judged on.
        spared: prompts that the race was decided without.
        second: what the second judge says of it, where there is one.
    """

    action: Action
    clip: float
    delta_clip: float
    standard_error: float
    delta_latency_ms: float
    prompts: int
    spared: int = 0
    second: SecondOpinion | None = None

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

    @property
    def margin(self) -> float:
        """Half the width of the 95 % confidence interval of ``delta_clip`` over all such prompts.

        Where a race ended early, it is the wider one that holds however often one looks.
        """
        if not self.spared:
            return 1.96 * self.standard_error
        deviation = self.standard_error * math.sqrt(self.prompts)
        return deviation * half_width(self.prompts, 1 - _CONFIDENCE)

    @property
    def distinguishable(self) -> bool:
        """Whether zero is outside of the confidence interval of ``delta_clip``."""
        return abs(self.delta_clip) > self.margin

    def effect(self) -> str:
        """What it does to the scores, for people."""
        doubt = "" if self.distinguishable else ", not distinguishable from zero"
        second = "" if self.second is None else f", second judge {self.second}"
        return (
            f"{self.delta_clip:+.4f} ± {self.margin:.4f} CLIP "
            f"({self.prompts} prompts{doubt}{second})"
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "action": str(self.action),
            "clip": self.clip,
            "delta_clip": self.delta_clip,
            "standard_error": self.standard_error,
            "delta_latency_ms": self.delta_latency_ms,
            "prompts": self.prompts,
            "spared": self.spared,
            "second": None if self.second is None else asdict(self.second),
            "value": self.value if math.isfinite(self.value) else None,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any], full: Architecture) -> Candidate:
        """The inverse of :meth:`to_json`.

        Raises:
            ValueError, KeyError, TypeError: if it is damaged.
        """
        check_numbers(value, "clip", "delta_clip", "standard_error", "delta_latency_ms")
        check_numbers(value, "prompts", "spared")
        if value["second"] is not None:
            check_numbers(value["second"], "delta", "standard_error")
        return cls(
            Action.parse(value["action"], full),
            value["clip"],
            value["delta_clip"],
            value["standard_error"],
            value["delta_latency_ms"],
            value["prompts"],
            value["spared"],
            None if value["second"] is None else SecondOpinion(**value["second"]),
        )


def check_numbers(value: dict[str, Any], *names: str) -> None:
    """See that some entries of what was read are numbers.

    Raises:
        TypeError: naming the first that is none.
        KeyError: if one is missing.
    """
    for name in names:
        entry = value[name]
        if isinstance(entry, bool) or not isinstance(entry, int | float):
            raise TypeError(f"{name} is {entry!r}, not a number")


def score_action(
    action: Action,
    now: Scores,
    before: Scores,
    after: Scores,
    delta_latency_ms: float,
) -> Candidate:
    """Judge an action by the scores of the same prompts before and after it.

    Args:
        action: what would be done.
        now: scores of the architecture as it is, of all prompts.
        before: of what the action is compared with, of the first prompts.
        after: with the action executed, of the same.
        delta_latency_ms: latency after minus before.
    """
    change, error = paired_difference(before.first, after.first)
    drawn = len(after.first)
    # How the first prompts differ from all is known for the architecture as it is.
    clip = fmean(after.first) + fmean(now.first) - fmean(now.first[:drawn])
    second = (
        SecondOpinion(*paired_difference(before.second, after.second)) if after.second else None
    )
    spared = len(now.first) - drawn
    return Candidate(action, clip, change, error, delta_latency_ms, drawn, spared, second)


def paired_difference(before: Sequence[float], after: Sequence[float]) -> tuple[float, float]:
    """Mean and standard error of the differences, after minus before.

    Sums are exactly rounded, so they are the same on every machine.
    """
    differences = [b - a for a, b in zip(before, after, strict=True)]
    count = len(differences)
    if count == 1:
        return differences[0], math.inf
    mean = fmean(differences)
    squares = math.fsum((each - mean) ** 2 for each in differences)
    return mean, math.sqrt(squares / (count - 1) / count)


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
        remarks: how they were found, in lines for people.
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
    remarks: tuple[str, ...] = ()

    @property
    def taken(self) -> tuple[Action, ...]:
        """The actions executed, best first."""
        return tuple(candidate.action for candidate in self.executed)

    def explain(self) -> list[str]:
        """One line for every action executed, and one for their joint effect."""
        if not self.executed:
            return [f"no action to {self.phase} a block pays, nothing changed"]
        alone = {candidate.action: candidate.delta_clip for candidate in self.candidates}
        lines = []
        for c in self.executed:
            verb = "removed" if c.action.change < 0 else "added"
            single = alone[c.action]
            by_itself = "" if single == c.delta_clip else f"; alone {single:+.4f}"
            lines.append(
                f"{verb} {c.action.target}: {c.effect()}{by_itself} "
                f"for {c.delta_latency_ms:+.2f} ms, value {c.value:.2e} per ms"
            )
        expected = sum(alone[action] for action in self.taken)
        lines.append(
            f"together: CLIP {self.clip_before:.4f} -> {self.clip_after:.4f} "
            f"({self.clip_after - self.clip_before:+.4f}; sum of single effects {expected:+.4f}), "
            f"latency {self.latency_before_ms:.2f} -> {self.latency_after_ms:.2f} ms"
        )
        return [*lines, *self.remarks]

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
            "remarks": list(self.remarks),
            "explanation": self.explain(),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any], full: Architecture) -> Decision:
        """The inverse of :meth:`to_json`; ``full`` is the base with every block once.

        Raises:
            ValueError, KeyError, TypeError: if it is damaged.
        """
        check_numbers(value, "clip_before", "clip_after", "latency_before_ms", "latency_after_ms")
        check_numbers(value, "round")
        candidates = tuple(Candidate.from_json(c, full) for c in value["candidates"])
        executed = tuple(Candidate.from_json(c, full) for c in value["executed"])
        unknown = {each.action for each in executed} - {each.action for each in candidates}
        if unknown:
            raise ValueError(f"{min(map(str, unknown))} was executed and is no candidate")
        return cls(
            round=value["round"],
            phase=value["phase"],
            weights=value["weights"],
            before=_architecture(value["before"], full),
            clip_before=value["clip_before"],
            latency_before_ms=value["latency_before_ms"],
            candidates=candidates,
            executed=executed,
            after=_architecture(value["after"], full),
            clip_after=value["clip_after"],
            latency_after_ms=value["latency_after_ms"],
            remarks=tuple(map(str, value["remarks"])),
        )


def _counts(architecture: Architecture) -> dict[str, int]:
    """Blocks that differ from the base, as text."""
    return {str(block): count for block, count in architecture.blocks if count != 1}


def _architecture(counts: dict[str, int], full: Architecture) -> Architecture:
    return full.with_multiplicities({BlockId.parse(text): n for text, n in counts.items()})
