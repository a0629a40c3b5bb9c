"""A report in Markdown, for the text of a pull request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from experiments.report.data import ReportData
from experiments.report.look import duration
from experiments.report.summary import changes, numbers_of_actions
from search.decision import Decision
from supernet.spec import StageRow, stage_rows


def markdown(data: ReportData) -> str:
    """Figures before and after, what was decided, what became of the blocks, and of what it is."""
    return "\n\n".join(_blocks(data)) + "\n"


def _blocks(data: ReportData) -> Iterator[str]:
    yield f"# {_escaped(data.title)}"
    yield _state(data)
    figures = [(c.name, c.before, c.after, c.unit, c.note) for c in changes(data)]
    yield _table(("", "base", "found", "unit", ""), figures)
    yield "## Decisions"
    if data.decisions:
        yield "\n".join(_decision(decision) for decision in data.decisions)
    else:
        yield "None yet."
    yield "## Blocks"
    yield _spec(data)
    if data.faults:
        yield f"What happened to workers is in `faults.jsonl` ({len(data.faults)} events)."
    yield "## Conditions"
    yield "\n".join(f"- {_escaped(line)}" for line in data.conditions)
    yield "```\n" + "\n".join(data.commands) + "\n```"


def _state(data: ReportData) -> str:
    removed, added = numbers_of_actions(data)
    done = f"{removed} blocks removed and {added} added in {len(data.decisions)} rounds"
    if data.result is None:
        return f"Not finished: {done} so far."
    wall_s = data.result.get("wall_s")
    return f"{done}, in {duration(wall_s)}." if wall_s is not None else f"{done}."


def _decision(decision: Decision) -> str:
    """One line: what was executed, and what came of it together."""
    if not decision.executed:
        return f"- **Round {decision.round}**: {_escaped(decision.explain()[0])}"
    verb = "removed" if decision.phase == "remove" else "added"
    targets = ", ".join(f"`{action.target}`" for action in decision.taken)
    return (
        f"- **Round {decision.round}**: {verb} {len(decision.taken)} of "
        f"{len(decision.candidates)}: CLIP {decision.clip_before:.4f} → "
        f"{decision.clip_after:.4f}, {decision.latency_before_ms:.2f} → "
        f"{decision.latency_after_ms:.2f} ms; {targets}"
    )


def _spec(data: ReportData) -> str:
    """Blocks by stage, in the base and in what was found."""
    rows = [_stage(row) for row in stage_rows(data.inventory, data.found)]
    return _table(("stage", "size", "channels", "ResNet", "cross-attention"), rows)


def _stage(row: StageRow) -> tuple[str, ...]:
    counts = (row.resnets, row.cross_attentions)
    texts = (str(base) if base == found else f"{base} → **{found}**" for base, found in counts)
    return row.stage, f"{row.height}×{row.width}", str(row.channels), *texts


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *("---:" for _ in head[1:])]
    lines = (head, rule, *(map(_escaped, row) for row in rows))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _escaped(text: str) -> str:
    """Text that is none of Markdown's or HTML's signs, and does not end a table's cell."""
    for sign in "\\`_[]<>|#":
        text = text.replace(sign, "\\" + sign)
    return " ".join(text.split())
