"""The state of a search on disk: its decisions so far, saved atomically after each.

Nothing else has to be remembered: the architecture is where the last decision led, trainings
keep their own checkpoints, and scores are in the store.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from latency_tables.parsing import parse_json
from search.budget import Spent
from search.decision import Decision
from supernet.architecture import Architecture

STATE_VERSION = 5
# Versions that differ from this one in what is left out here, and in nothing else.
_WITHOUT_REMARKS, _WITHOUT_SPENT = 3, 4


class StateError(ValueError):
    """A state file that is damaged, from another version, or of another search."""


@dataclass
class SearchState:
    """Decisions in order; where they led is :attr:`architecture`.

    Attributes:
        full: the base.
        decisions: so far.
        pictures: see :class:`search.budget.Spent`; of these decisions.
        seconds: likewise.
    """

    full: Architecture
    decisions: list[Decision] = field(default_factory=list)
    pictures: int = 0
    seconds: float = 0.0

    @property
    def architecture(self) -> Architecture:
        return self.decisions[-1].after if self.decisions else self.full

    @property
    def spent(self) -> Spent:
        return Spent(len(self.decisions), self.pictures, self.seconds)

    def save(self, path: Path) -> None:
        """Write ``state.json`` and, for people and tools, ``decisions.jsonl`` beside it.

        The state comes last: whatever it does not hold yet is decided, and written, once more.
        """
        decisions = [decision.to_json() for decision in self.decisions]
        state = {
            "version": STATE_VERSION,
            "base": self.full.base.digest,
            "pictures": self.pictures,
            "seconds": round(self.seconds, 1),
            "decisions": decisions,
        }
        lines = "".join(json.dumps(decision) + "\n" for decision in decisions)
        write_atomically(path.with_name("decisions.jsonl"), lines)
        write_atomically(path, json.dumps(state, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path, full: Architecture) -> SearchState:
        """The saved state, or a fresh one if there is no file yet.

        Raises:
            StateError: if the file is damaged or does not fit this version and base UNet.
        """
        if not path.exists():
            return cls(full)
        try:
            value = parse_json(path.read_text(encoding="utf-8"))
            version, base = value["version"], value["base"]
            decisions = value["decisions"]
            if version == _WITHOUT_REMARKS:
                decisions = [{"remarks": [], **each} for each in decisions]
            if version in (_WITHOUT_REMARKS, _WITHOUT_SPENT):
                value |= {"pictures": 0, "seconds": 0.0}
                version = STATE_VERSION
        except (ValueError, KeyError, TypeError) as error:
            raise StateError(
                f"{path}: damaged ({error}); restore it or start a new run folder"
            ) from error
        if version != STATE_VERSION:
            raise StateError(
                f"{path}: version {version}, this evounet reads version {STATE_VERSION}; "
                "finish the run with the evounet that began it"
            )
        if base != full.base.digest:
            raise StateError(
                f"{path}: belongs to base UNet {base}, not to {full.base.digest}; "
                "resume with the pipeline that it began with"
            )
        try:
            made = [Decision.from_json(decision, full) for decision in decisions]
            return cls(full, made, int(value["pictures"]), float(value["seconds"]))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise StateError(
                f"{path}: cannot be read ({error}); restore it or start a new run folder"
            ) from error


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that at any moment the old or the new one is there, whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
