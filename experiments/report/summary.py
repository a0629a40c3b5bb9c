"""The figures at the head of a report: before, after, and what changed."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from experiments.report.data import ReportData
from experiments.report.look import signed

# Of the result: its name, that for people, and how many digits it is worth.
_OTHERS = (("second_score", "Second judge", 4), ("fid", "FID", 2), ("kid", "KID", 4))


def summary(data: ReportData) -> str:
    """A description list of the figures known so far."""
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{figure}<small>{note}</small></dd></div>"
        for name, figure, note in _figures(data)
    )
    return f'<dl class="summary">{items}</dl>'


def _figures(data: ReportData) -> Iterator[tuple[str, str, str]]:
    """Name, value and remark of each figure, as HTML."""
    before_ms, after_ms = data.latency(data.base), data.latency(data.found)
    met = "met" if after_ms <= data.target_ms else "not met yet"
    yield (
        "UNet latency by the table",
        _change(f"{before_ms:.2f}", f"{after_ms:.2f}", "ms"),
        f"{_percent(before_ms, after_ms)}, target {data.target_ms:.2f} ms {met}",
    )
    yield from _results(data)
    before, after = (data.inventory.parameters(a) for a in (data.base, data.found))
    yield (
        "Parameters",
        _change(f"{before / 1e6:.2f}", f"{after / 1e6:.2f}", "M"),
        _percent(before, after),
    )
    taken = [action for decision in data.decisions for action in decision.taken]
    removed = sum(action.change < 0 for action in taken)
    yield (
        "Actions",
        f"<b>{removed}</b> removed, <b>{len(taken) - removed}</b> added",
        f"rounds: {len(data.decisions)}",
    )


def _results(data: ReportData) -> Iterator[tuple[str, str, str]]:
    """What was measured at the end of the search; the CLIP score of its decisions before."""
    if data.result is None:
        if data.decisions:
            first, last = data.decisions[0].clip_before, data.decisions[-1].clip_after
            yield "CLIP score", _change(f"{first:.4f}", f"{last:.4f}"), "while searching"
        return
    result = data.result
    before, after = result["unet_ms_before"], result["unet_ms_after"]
    yield (
        "UNet latency by the clock",
        _change(f"{before:.2f}", f"{after:.2f}", "ms"),
        _percent(before, after),
    )
    before, after = result["clip_before"], result["clip_after"]
    yield "CLIP score", _change(f"{before:.4f}", f"{after:.4f}"), signed(after - before, 4)
    if "caption_accuracy_before" in result:
        before, after = (100 * result[f"caption_accuracy_{when}"] for when in ("before", "after"))
        yield (
            "Caption accuracy",
            _change(f"{before:.1f}", f"{after:.1f}", "%"),
            f"{signed(after - before, 1)} points",
        )
    for figure, name, digits in _OTHERS:
        if f"{figure}_before" in result:
            before, after = (result[f"{figure}_{when}"] for when in ("before", "after"))
            yield (
                name,
                _change(f"{before:.{digits}f}", f"{after:.{digits}f}"),
                signed(after - before, digits),
            )


def _change(before: str, after: str, unit: str = "") -> str:
    return f"{before} <span>→</span> <b>{after}</b> {unit}"


def _percent(before: float, after: float) -> str:
    return f"{signed(100 * (after / before - 1), 1)} %"
