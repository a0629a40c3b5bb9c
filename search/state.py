"""The state of a search on disk: its decisions so far, saved atomically after each.

Nothing else has to be remembered: the architecture is where the last decision led, trainings
keep their own checkpoints, and scores are in the store.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from search.decision import Decision
from supernet.architecture import Architecture

STATE_VERSION = 4
_WITHOUT_REMARKS = 3  # a version that differs from this one in nothing else


class StateError(ValueError):
    """A state file that is damaged, from another version, or of another search."""


@dataclass
class SearchState:
    """Decisions in order; where they led is :attr:`architecture`."""

    full: Architecture
    decisions: list[Decision] = field(default_factory=list)

    @property
    def architecture(self) -> Architecture:
        return self.decisions[-1].after if self.decisions else self.full

    def save(self, path: Path) -> None:
        """Write ``state.json`` and, for people and tools, ``decisions.jsonl`` beside it.

        The state comes last: whatever it does not hold yet is decided, and written, once more.
        """
        decisions = [decision.to_json() for decision in self.decisions]
        state = {
            "version": STATE_VERSION,
            "base": self.full.base.digest,
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
            value = json.loads(path.read_text(encoding="utf-8"))
            version, base = value["version"], value["base"]
            decisions = value["decisions"]
            if version == _WITHOUT_REMARKS:
                decisions = [{"remarks": [], **each} for each in decisions]
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
            return cls(full, [Decision.from_json(decision, full) for decision in decisions])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StateError(
                f"{path}: a decision cannot be read ({error}); restore it or start a new run folder"
            ) from error


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that at any moment the old or the new one is there, whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
