"""Where a search stands: what it does, who works for it, and what happened to them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from html import escape

from experiments.live import Live
from experiments.report.data import ReportData
from experiments.report.faults import fault_list
from experiments.report.look import duration


def state(data: ReportData) -> str:
    """What a search does, or that it is over, and what happened to its workers so far."""
    return f"{_now(data)}<h3>What happened to the workers</h3>{fault_list(data.faults)}"


def _now(data: ReportData) -> str:
    if data.result is not None:
        took = data.result.get("wall_s")
        return f"<p>Finished. The run took {duration(took)}.</p>" if took is not None else ""
    if data.live is None:
        return """<p class="empty">Not running when this page was written. It goes on where it was
        with <code>evounet resume</code> and its folder.</p>"""
    when = datetime.fromtimestamp(data.live.updated).strftime("%Y-%m-%d %H:%M:%S")
    facts = "".join(
        f"<div><dt>{name}</dt><dd>{escape(fact)}</dd></div>" for name, fact in live_facts(data.live)
    )
    return (
        f'<p class="lead">At {when}, when this page was written. It is written anew after every '
        "decision; <code>evounet dashboard</code> follows a search.</p>"
        '<dl class="summary live">'
        f"{facts}</dl>"
    )


def live_facts(live: Live) -> Iterator[tuple[str, str]]:
    """What a search said, each fact under its name."""
    yield "Round", str(live.round)
    if live.doing:
        yield "Doing", f"{live.doing}: {live.done} of {live.total}"
    if live.left_s is not None:
        yield "Time left for it", duration(live.left_s)
    if live.racing is not None:
        race = live.racing
        yield "Race", f"{race.open} actions open on {race.prompts} prompts, {race.decided} decided"
    yield "Evaluators", f"{live.workers} of {live.wanted}"
    yield "Pictures", f"{live.pictures:,}, {live.pictures_per_s:.2f} per second"
