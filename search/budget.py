"""When a search ends though it could go on: what it may use, and how long it waits for a gain."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field


@dataclass(frozen=True)
class Spent:
    """What a search has used so far, in all its processes.

    Attributes:
        rounds: decided.
        pictures: that its rounds asked for, drawn or known from the store. What a round asks for
            does not depend on what is known, so a resumed search ends where it would have.
        seconds: of wall time, training included.
    """

    rounds: int = 0
    pictures: int = 0
    seconds: float = 0.0


class Budget(BaseModel):
    """What a search may use; None for as much as it takes.

    No further round is begun once something is used up. Rounds on the way to the target share the
    pictures that are left equally, so that one does not use up what others need to get there. A
    round that is begun is brought to its end; its single removals are judged in any case.

    Attributes:
        max_rounds: decisions.
        max_pictures: to draw, or to be known from the store already.
        max_hours: of wall time. It depends on the machine where this ends a search.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_rounds: int | None = Field(None, ge=1)
    max_pictures: int | None = Field(None, ge=1)
    max_hours: float | None = Field(None, gt=0)

    def used_up(self, spent: Spent) -> str | None:
        """What of it is, for people."""
        if self.max_rounds is not None and spent.rounds >= self.max_rounds:
            return f"search.max_rounds {self.max_rounds}"
        if self.max_pictures is not None and spent.pictures >= self.max_pictures:
            return f"search.max_pictures {self.max_pictures} (asked for: {spent.pictures})"
        if self.max_hours is not None and spent.seconds >= 3600 * self.max_hours:
            return f"search.max_hours {self.max_hours:g}"
        return None

    def evaluations(self, wanted: int, spent: Spent, prompts: int, rounds: int = 1) -> int:
        """Architectures that a round may judge on all prompts, where it wants so many.

        Args:
            wanted: without a budget.
            spent: before the round.
            prompts: that an architecture is judged on.
            rounds: from this one to the target.
        """
        if self.max_pictures is None:
            return wanted
        share = (self.max_pictures - spent.pictures) // (prompts * rounds)
        return min(wanted, max(2, share))  # two: what it begins with and what it ends with
