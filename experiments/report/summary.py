"""The figures at the head of a report: before, after, and what changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from experiments.report.data import ReportData
from experiments.report.look import signed

# Of the result: its name, that for people, and how many digits it is worth.
_OTHERS = (("second_score", "Second judge", 4), ("fid", "FID", 3), ("kid", "KID", 4))


@dataclass(frozen=True)
class Change:
    """A figure of the base and of what was found.

    Attributes:
        name: for people.
        before: of the base.
        after: of what was found.
        unit: of both; empty for none.
        note: what to think of it.
    """

    name: str
    before: str
    after: str
    unit: str
    note: str


def summary(data: ReportData) -> str:
    """A description list of the figures known so far."""
    items = [
        (
            change.name,
            f"{change.before} <span>→</span> <b>{change.after}</b> {change.unit}",
            change.note,
        )
        for change in changes(data)
    ]
    removed, added = numbers_of_actions(data)
    actions = f"<b>{removed}</b> removed, <b>{added}</b> added"
    items.append(("Actions", actions, f"rounds: {len(data.decisions)}"))
    rows = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{figure}<small>{escape(note)}</small></dd></div>"
        for name, figure, note in items
    )
    return f'<dl class="summary">{rows}</dl>'


def numbers_of_actions(data: ReportData) -> tuple[int, int]:
    """How many removals and additions were executed."""
    taken = [action for decision in data.decisions for action in decision.taken]
    removed = sum(action.change < 0 for action in taken)
    return removed, len(taken) - removed


def changes(data: ReportData) -> Iterator[Change]:
    """Every figure that is known of both."""
    before_ms, after_ms = data.latency(data.base), data.latency(data.found)
    met = "met" if after_ms <= data.target_ms else "not met yet"
    yield Change(
        "UNet latency by the table",
        f"{before_ms:.2f}",
        f"{after_ms:.2f}",
        "ms",
        f"{_percent(before_ms, after_ms)}, target {data.target_ms:.2f} ms {met}",
    )
    yield from _results(data)
    before, after = (data.inventory.parameters(a) for a in (data.base, data.found))
    yield Change(
        "Parameters",
        f"{before / 1e6:.2f}",
        f"{after / 1e6:.2f}",
        "M",
        _percent(before, after),
    )


def _results(data: ReportData) -> Iterator[Change]:
    """What was measured at the end of the search; the CLIP score of its decisions before."""
    if data.result is None:
        if data.decisions:
            first, last = data.decisions[0].clip_before, data.decisions[-1].clip_after
            yield Change("CLIP score", f"{first:.4f}", f"{last:.4f}", "", "while searching")
        return
    result = data.result
    before, after = result["unet_ms_before"], result["unet_ms_after"]
    yield Change(
        "UNet latency by the clock",
        f"{before:.2f}",
        f"{after:.2f}",
        "ms",
        _percent(before, after),
    )
    yield _difference("CLIP score", result["clip_before"], result["clip_after"], 4)
    if "caption_accuracy_before" in result:
        before, after = (100 * result[f"caption_accuracy_{when}"] for when in ("before", "after"))
        yield Change(
            "Caption accuracy",
            f"{before:.1f}",
            f"{after:.1f}",
            "%",
            f"{signed(after - before, 1)} points",
        )
    for figure, name, digits in _OTHERS:
        if f"{figure}_before" in result:
            before, after = (result[f"{figure}_{when}"] for when in ("before", "after"))
            yield _difference(name, before, after, digits)


def _difference(name: str, before: float, after: float, digits: int) -> Change:
    first, last = (f"{number:.{digits}f}".replace("-", "−") for number in (before, after))
    return Change(name, first, last, "", signed(after - before, digits))


def _percent(before: float, after: float) -> str:
    return f"{signed(100 * (after / before - 1), 1)} %"
