"""What happened to the workers, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from html import escape

from evaluators.pool_events import PoolEvent

_NOTHING = (
    """<p class="empty">Nothing: no worker or node was lost or slow, and none came later.</p>"""
)
_LEAD = (
    "Whatever happened to a worker, its work was done by others, and all answers are those of an "
    "undisturbed run."
)
_HEAD = """<thead><tr><th scope="col">when</th><th scope="col">what</th>
<th scope="col">who</th><th scope="col">what came of it</th></tr></thead>"""


def fault_list(events: Sequence[PoolEvent]) -> str:
    """How often each kind of event happened, and behind that every single one."""
    if not events:
        return _NOTHING
    counts = Counter(event.kind for event in events)
    summary = ", ".join(f"<b>{count}</b> × {escape(kind)}" for kind, count in counts.items())
    rows = "".join(_row(event) for event in events)
    label = "What happened to the workers, in order"
    return (
        f'<p class="lead">{_LEAD}</p><details><summary>{summary}</summary>'
        f'<div class="scroll" role="region" aria-label="{label}" tabindex="0">'
        f"<table><caption>{label}</caption>{_HEAD}<tbody>{rows}</tbody></table></div></details>"
    )


def _row(event: PoolEvent) -> str:
    when = datetime.fromtimestamp(event.time).strftime("%Y-%m-%d %H:%M:%S")
    cells = "".join(f"<td>{escape(text)}</td>" for text in (event.kind, event.who, event.text))
    return f'<tr><th scope="row">{when}</th>{cells}</tr>'
