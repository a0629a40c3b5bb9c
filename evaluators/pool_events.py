"""What happens to the workers of a search, as values that a log and a report can show."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal[
    "worker joined",
    "worker lost",
    "node joined",
    "node lost",
    "no room",
    "weights lost",
    "evaluator failed",
    "not a number",
    "slow worker",
    "out of memory",
    "resumed",
]


@dataclass(frozen=True)
class PoolEvent:
    """Something that happened, and what was done about it.

    Attributes:
        time: seconds since 1970.
        kind: what it was.
        who: the worker or node that it happened to.
        text: one line for people.
    """

    time: float
    kind: Kind
    who: str
    text: str

    @classmethod
    def now(cls, kind: Kind, who: str, text: str) -> PoolEvent:
        return cls(round(time.time(), 3), kind, who, text)

    def __str__(self) -> str:
        return f"{self.kind}: {self.who}: {self.text}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> PoolEvent:
        """The inverse of :meth:`to_json`.

        Raises:
            ValueError: if it is no event.
        """
        texts = isinstance(value, dict) and {
            each: value.get(each) for each in ("kind", "who", "text")
        }
        if not texts or not all(isinstance(text, str) for text in texts.values()):
            raise ValueError("no event: it needs kind, who and text")
        if isinstance(value.get("time"), bool) or not isinstance(value.get("time"), int | float):
            raise ValueError(f"time {value.get('time')!r} is no number")
        return cls(value["time"], value["kind"], value["who"], value["text"])


OnEvent = Callable[[PoolEvent], None]
