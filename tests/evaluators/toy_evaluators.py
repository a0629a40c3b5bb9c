"""Evaluators that answer at once, without any model, and that fail as they are told.

This module is imported in Ray's workers: it needs neither torch nor diffusers.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import nan
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from evaluators.job import Scores


@dataclass(frozen=True)
class ToyArchitecture:
    id: str


@dataclass(frozen=True)
class ToySpec:
    """What toys answer, and how they fail.

    Attributes:
        folder: for files that say what has happened: process ids, and which fault is over.
        seconds: of one batch.
        fault: ``slow`` makes one process ten times as slow; ``raise``, ``nan``, ``memory`` happen
            once, to the batch that begins at row 4 of architecture ``b``; ``always raise`` and
            ``always nan`` happen to that batch whoever does it; ``load`` happens to the first
            process, ``always load`` to all.
    """

    folder: str
    seconds: float = 0.02
    fault: str = ""
    prompts: tuple[str, ...] = ("a prompt",) * 12
    sampling: Any = field(default_factory=lambda: SimpleNamespace(batch_size=4))


def toy_scores(architecture: ToyArchitecture, rows: range) -> Scores:
    """Numbers that are different for every picture."""
    return Scores(tuple(_number(f"{architecture.id}/{row}") for row in rows))


def _number(text: str) -> float:
    return int(hashlib.sha256(text.encode()).hexdigest()[:12], 16) / 16**12


class ToyEvaluator:
    def __init__(self, spec: ToySpec, threads: int, device: str) -> None:
        self.spec = spec
        self.notes: list[str] = []
        self.slow = spec.fault == "slow" and self._first()
        if spec.fault == "always load" or (spec.fault == "load" and self._first()):
            raise OSError("no such pipeline here")
        Path(spec.folder, f"process-{os.getpid()}").touch()

    def load_weights(self, weights: Mapping[str, Any]) -> None: ...

    def scores(self, architecture: ToyArchitecture, rows: range) -> Scores:
        time.sleep(self.spec.seconds * (10 if self.slow else 1))
        with Path(self.spec.folder, f"process-{os.getpid()}").open("a") as file:
            file.write(f"{architecture.id} {rows.start}\n")
        scores = toy_scores(architecture, rows)
        if (architecture.id, rows.start) != ("b", 4):
            return scores
        _, always, fault = self.spec.fault.rpartition("always ")
        if fault in ("raise", "nan", "memory") and (always or self._first()):
            if fault == "raise":
                raise ZeroDivisionError("this batch\nis cursed")
            if fault == "nan":
                return Scores((nan, *scores.first[1:]))
            self.notes.append("no memory for 4 pictures at a time; goes on with 2")
        return scores

    def images(self, architecture: ToyArchitecture, rows: range) -> tuple[int, ...]:
        time.sleep(self.spec.seconds * (1 + rows.start % 3))
        return tuple(rows)

    def _first(self) -> bool:
        """Whether no evaluator has asked this before."""
        try:
            Path(self.spec.folder, "first").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


def processes(folder: Path) -> dict[int, list[str]]:
    """What every evaluator's process has done: architectures and rows, in order."""
    return {
        int(path.name.removeprefix("process-")): path.read_text().splitlines()
        for path in folder.glob("process-*")
    }
