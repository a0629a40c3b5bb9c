"""Work on rows in portions that memory has room for."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class Portions:
    """Does rows a portion at a time; one that memory has no room for is halved, and so it stays.

    Attributes:
        size: rows of a portion now.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, rows: range, work: Callable[[range], Tensor]) -> Tensor:
        """``work`` on all rows, put together along the first dimension.

        Raises:
            RuntimeError: what ``work`` raises, if it has no room even for one row.
        """
        done: list[Tensor] = []
        start = 0
        while start < len(rows):
            portion = rows[start : start + self.size]
            result = self._attempt(portion, work)
            if result is not None:
                done.append(result)
                start += len(portion)
        return torch.cat(done)

    def _attempt(self, portion: range, work: Callable[[range], Tensor]) -> Tensor | None:
        """The result; None if there was no room for it, and portions are smaller now."""
        try:
            return work(portion)
        except RuntimeError as error:
            if len(portion) == 1 or not is_out_of_memory(error):
                raise
        # Out of the handler, which holds what was computed so far.
        self.size = (len(portion) + 1) // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None


def less_at_a_time(before: int, portions: Portions, changed: str) -> list[str]:
    """What to note if portions are smaller now than they were, in words; nothing if they are not.

    Args:
        before: rows of a portion, as it was.
        portions: as they are.
        changed: whose last bits depend on it.
    """
    if portions.size == before:
        return []
    return [
        f"no memory for {before} pictures at a time; goes on with {portions.size}, which may "
        f"change the last bits of {changed}"
    ]


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a device had no room, or the machine: torch has no type of its own for that."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
