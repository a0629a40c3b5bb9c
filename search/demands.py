"""What the found UNet has to keep to: a latency by a table, and whatever else is limited."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from functools import cached_property

from evaluators.latency import TableLatency
from supernet.activations import PeakActivations
from supernet.architecture import Architecture
from supernet.parts import Inventory

Measure = Callable[[Architecture], float]


@dataclass(frozen=True)
class Limit:
    """Something that must not be more than so much.

    Attributes:
        name: for people: ``latency on 'phone'``.
        unit: ``ms``, ``M parameters``.
        measure: of any architecture, in that unit.
        least: the architecture that has least of it.
        at_most: in that unit.
        beyond: by how much it is exceeded, in that unit, 0 where it is kept; the measure less the
            limit by default. Of a maximum over blocks, what falls with every block that exceeds it.
    """

    name: str
    unit: str
    measure: Measure
    least: Architecture
    at_most: float
    beyond: Measure | None = None

    def share(self, architecture: Architecture) -> float:
        """Of the limit that is used, 1 or less where it is kept."""
        used = self.measure(architecture)
        if self.beyond is None or used <= self.at_most:
            return used / self.at_most
        return 1 + self.beyond(architecture) / self.at_most

    def check(self, base: float) -> None:
        """Refuse what even the architecture that has least of it cannot keep.

        Raises:
            ValueError: naming the nearest value that can be asked for.
        """
        reached = self.measure(self.least)
        if self.at_most < reached:
            raise ValueError(
                f"{self.name}: {self.at_most:.2f} {self.unit} cannot be reached: without its "
                f"blocks the UNet still takes {_rounded_up(reached)} {self.unit}, "
                f"{_rounded_up(reached / base)} of the base; choose at least that"
            )


def latency_limit(latency: TableLatency, at_most_ms: float) -> Limit:
    """On one table."""
    name = f"latency on table '{latency.table.metadata.name}'"
    return Limit(name, "ms", latency, latency.fastest(), at_most_ms)


@dataclass(frozen=True)
class Count:
    """Something of an architecture that is counted.

    Attributes:
        name: for people.
        unit: ``M`` or ``G``.
        size: of that unit.
        of: an architecture.
        beyond: see :class:`Limit`; of an architecture and a number.
    """

    name: str
    unit: str
    size: float
    of: Measure
    beyond: Callable[[Architecture, float], float] | None = None

    def measure(self, architecture: Architecture) -> float:
        """In its unit."""
        return self.of(architecture) / self.size

    def limit(self, least: Architecture, at_most: float) -> Limit:
        """That it must not be more than this number."""
        beyond = self.beyond
        if beyond is None:
            return Limit(self.name, self.unit, self.measure, least, at_most / self.size)
        return Limit(
            self.name,
            self.unit,
            self.measure,
            least,
            at_most / self.size,
            lambda each: beyond(each, at_most) / self.size,
        )


def counts(inventory: Inventory) -> tuple[Count, Count, Count]:
    """Parameters, multiply-accumulates of a pass, and values that it holds at once."""
    peak = PeakActivations(inventory)
    return (
        Count("parameters", "M", 1e6, inventory.parameters),
        Count("multiply-accumulates", "G", 1e9, inventory.macs),
        Count("peak activations", "M", 1e6, peak, peak.beyond),
    )


def count_limits(
    inventory: Inventory,
    parameters: float | None = None,
    macs: float | None = None,
    activations: float | None = None,
) -> list[Limit]:
    """On :func:`counts`."""
    smallest = inventory.smallest()
    given = zip(counts(inventory), (parameters, macs, activations), strict=True)
    return [count.limit(smallest, most) for count, most in given if most is not None]


@dataclass(frozen=True)
class Demands:
    """The target on the objective's table, and further limits, in one number.

    Called with an architecture, they give milliseconds on the objective's table: its latency, if
    nothing else is limited. Otherwise the target plus what all limits are exceeded by, each as a
    share of the limit and of the target; and where none is, the target times the largest share
    that is used. So all limits are kept exactly where it is at most the target, and a block is
    worth what its removal takes off the excesses, whichever they are.

    Attributes:
        latency: by the objective's table.
        target_ms: to reach on it.
        others: further limits.

    Raises:
        ValueError: if a limit cannot be kept, or not all of them by one architecture.
    """

    latency: TableLatency
    target_ms: float
    others: tuple[Limit, ...] = ()

    def __post_init__(self) -> None:
        full = self.latency.inventory.full()
        for limit in self.limits:
            limit.check(limit.measure(full))
        if not any(self.met(self._descend(limit.least)) for limit in self.limits):
            names = ", ".join(limit.name for limit in self.limits)
            raise ValueError(f"no architecture was found that keeps to all of {names}; raise some")

    @cached_property
    def limits(self) -> tuple[Limit, ...]:
        """All of them, the objective's first."""
        return (latency_limit(self.latency, self.target_ms), *self.others)

    def __call__(self, architecture: Architecture) -> float:
        if not self.others:
            return self.latency(architecture)
        shares = [limit.share(architecture) for limit in self.limits]
        excess = sum(share - 1 for share in shares if share > 1)
        return self.target_ms * (1 + excess if excess else max(shares))

    def _descend(self, architecture: Architecture) -> Architecture:
        """Toggle the block that brings most, until all limits are kept or none brings anything."""
        while not self.met(architecture):
            around = [
                architecture.with_multiplicity(block, 0 if count else 1)
                for block, count in architecture.blocks
            ]
            best = min(around, key=self)
            if self(best) >= self(architecture):
                break
            architecture = best
        return architecture

    def met(self, architecture: Architecture) -> bool:
        """Whether an architecture keeps to all of them."""
        return self(architecture) <= self.target_ms


def _rounded_up(value: float) -> Decimal:
    """To two decimals, so that what is printed can be asked for."""
    return Decimal(value).quantize(Decimal("0.01"), ROUND_CEILING)
