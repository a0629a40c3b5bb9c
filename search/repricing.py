"""The decisions of a search as another latency table prices them; scores stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from search.decision import Candidate, Decision
from search.front import FrontPoint
from supernet.architecture import Architecture

Price = Callable[[Architecture], float]


def repriced(decision: Decision, price: Price) -> Decision:
    """The same decision with all its latencies by ``price``, in ms.

    What was executed stands on top of what was executed before it, as it was scored.
    """
    before_ms = price(decision.before)
    candidates = tuple(
        replace(each, delta_latency_ms=price(each.action.apply(decision.before)) - before_ms)
        for each in decision.candidates
    )
    return replace(
        decision,
        latency_before_ms=before_ms,
        candidates=candidates,
        executed=tuple(_in_turn(decision, price)),
        latency_after_ms=price(decision.after),
    )


def repriced_front(points: tuple[FrontPoint, ...], price: Price) -> tuple[FrontPoint, ...]:
    """The points of a front, fastest first by ``price``; some may be beaten by others now."""
    priced = (replace(point, latency_ms=price(point.architecture)) for point in points)
    return tuple(sorted(priced, key=lambda point: point.latency_ms))


def _in_turn(decision: Decision, price: Price) -> Iterator[Candidate]:
    now = decision.before
    for each in decision.executed:
        after = each.action.apply(now)
        yield replace(each, delta_latency_ms=price(after) - price(now))
        now = after
