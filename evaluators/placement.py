"""What an evaluator takes of its node, and how many of them a cluster has room for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_ROUNDING = 1e-6  # ten evaluators of a tenth of a GPU fit on one


@dataclass(frozen=True)
class Placement:
    """What each evaluator takes of its node.

    Attributes:
        threads: CPU threads, and CPUs of Ray.
        gpus: share of a GPU, or a whole number of them; 0 for none.
        resources: amounts of the cluster's own resources, by name.
    """

    threads: int = 1
    gpus: float = 0.0
    resources: Mapping[str, float] = field(default_factory=dict)

    @property
    def device(self) -> str:
        """Of torch, where Ray shows an actor no GPU but its own."""
        return "cuda" if self.gpus else "cpu"

    @property
    def options(self) -> dict[str, Any]:
        """The same as Ray's tasks and actors are asked for it."""
        resources = dict(self.resources)
        return {"num_cpus": self.threads, "num_gpus": self.gpus, "resources": resources}

    @property
    def bundle(self) -> dict[str, float]:
        """The same as the resources of Ray's nodes are named."""
        needs = {"CPU": float(self.threads), "GPU": self.gpus, **self.resources}
        return {name: amount for name, amount in needs.items() if amount}

    def __str__(self) -> str:
        others = {"GPU": self.gpus, **self.resources}
        parts = [f"{amount:g} {name}" for name, amount in others.items() if amount]
        return " and ".join([f"{self.threads} threads", *parts])

    def room(self, nodes: Sequence[Mapping[str, float]], spare_cpus: int) -> int:
        """How many fit on nodes with these resources, with CPUs left to others."""
        cpus = sum(node.get("CPU", 0.0) for node in nodes)
        fitting = sum(self._room_on(node) for node in nodes)
        return max(0, min(fitting, int((cpus - spare_cpus) // self.threads)))

    def _room_on(self, node: Mapping[str, float]) -> int:
        shares = [node.get(name, 0.0) / amount for name, amount in self.bundle.items()]
        return int(min(shares) + _ROUNDING)
