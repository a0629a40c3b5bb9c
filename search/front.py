"""The front of CLIP score and latency: what cannot be had faster without losing score."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from latency_tables.parsing import parse_json
from search.state import StateError, write_atomically
from supernet.architecture import Architecture, BlockId

FRONT_VERSION = 1


@dataclass(frozen=True)
class FrontPoint:
    """One architecture of a front.

    Attributes:
        latency_ms: by the objective's table.
        clip: its mean CLIP score.
    """

    architecture: Architecture
    latency_ms: float
    clip: float


@dataclass(frozen=True)
class Front:
    """Fastest first; each scores higher than all before it.

    Attributes:
        round: whose training the weights are of.
        weights: their digest.
        base_clip: score of the base with the same weights.
    """

    round: int
    weights: str
    base_clip: float
    points: tuple[FrontPoint, ...]

    def save(self, path: Path) -> None:
        """Write it as JSON, atomically."""
        points = [
            {
                "latency_ms": point.latency_ms,
                "clip": point.clip,
                "blocks": {str(b): n for b, n in point.architecture.blocks if n != 1},
            }
            for point in self.points
        ]
        value = {
            "version": FRONT_VERSION,
            "round": self.round,
            "weights": self.weights,
            "base_clip": self.base_clip,
            "points": points,
        }
        write_atomically(path, json.dumps(value, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path, full: Architecture) -> Front:
        """The inverse of :meth:`save`.

        Raises:
            StateError: if the file is missing, damaged or of another version.
        """
        try:
            value = parse_json(path.read_text(encoding="utf-8"))
            if value["version"] != FRONT_VERSION:
                raise StateError(
                    f"{path}: version {value['version']}, this evounet reads {FRONT_VERSION}; "
                    "use the evounet that wrote it"
                )
            points = tuple(
                FrontPoint(
                    full.with_multiplicities(
                        {BlockId.parse(text): count for text, count in each["blocks"].items()}
                    ),
                    float(each["latency_ms"]),
                    float(each["clip"]),
                )
                for each in value["points"]
            )
            return cls(
                int(value["round"]), str(value["weights"]), float(value["base_clip"]), points
            )
        except StateError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise StateError(
                f"{path}: no front can be read ({error}); search with search.pareto = true"
            ) from error


_Key = TypeVar("_Key")


def not_beaten(scores: Mapping[_Key, float], ms: Mapping[_Key, float]) -> list[_Key]:
    """Those that no other one equals or beats in both, fastest first; of equal ones, the first."""
    best = -math.inf
    found = []
    for each in sorted(scores, key=lambda a: (ms[a], -scores[a])):
        if scores[each] > best:
            best = scores[each]
            found.append(each)
    return found
