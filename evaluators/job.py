"""What is asked of evaluators, and what they answer."""

from __future__ import annotations

from dataclasses import dataclass

from supernet.architecture import Architecture


@dataclass(frozen=True)
class Job:
    """Some prompts to be drawn with an architecture and judged.

    Attributes:
        architecture: what of the supernet runs.
        rows: of the prompt set.
    """

    architecture: Architecture
    rows: range


@dataclass(frozen=True)
class Scores:
    """The judges' scores of some pictures, in their prompts' order.

    Attributes:
        first: what the search goes by.
        second: what a second judge says, where there is one; empty otherwise.
    """

    first: tuple[float, ...]
    second: tuple[float, ...] = ()

    def __add__(self, other: Scores) -> Scores:
        """These, and those of the pictures that follow."""
        return Scores(self.first + other.first, self.second + other.second)

    def __getitem__(self, part: slice) -> Scores:
        """Those of some of the pictures."""
        return Scores(self.first[part], self.second[part])
