"""The decisions in words: what was done in every round, and everything that was weighed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from html import escape

from experiments.report.look import KIND_LETTERS, kind_of, signed, value_text
from search.decision import Candidate, Decision

_HEAD = """<thead><tr><th scope="col">action</th><th scope="col">ΔCLIP, 95 % interval</th>
<th scope="col">prompts</th><th scope="col">ΔLatency, ms</th><th scope="col">value, CLIP per ms</th>
<th scope="col">executed</th></tr></thead>"""

_LEFT_OUT = """The table of this round's candidates is left out, so that the page stays one to mail:
they are in <code>decisions.jsonl</code>, and <code>evounet dashboard</code> shows them."""


def round_details(decisions: Sequence[Decision], tables: Collection[int] | None = None) -> str:
    """A ``<details>`` for every decision, the last one open.

    Args:
        decisions: in order.
        tables: rounds whose candidates are all listed; those of all rounds by default.
    """
    return "".join(
        _details(each, each is decisions[-1], tables is None or each.round in tables)
        for each in decisions
    )


def _details(decision: Decision, is_open: bool, with_table: bool) -> str:
    lines = "".join(f"<li>{escape(line)}</li>" for line in decision.explain())
    table = _table(decision) if with_table else f'<p class="empty">{_LEFT_OUT}</p>'
    return (
        f"<details{' open' if is_open else ''}><summary>{_headline(decision)}</summary>"
        f'<ul class="explanation">{lines}</ul>{table}</details>'
    )


def _table(decision: Decision) -> str:
    rows = "".join(_row(c, c.action in decision.taken) for c in _executed_first(decision))
    label = f"Candidates of round {decision.round}: executed ones first, then by value"
    return (
        f'<div class="scroll" role="region" aria-label="{label}" tabindex="0">'
        f"<table><caption>{label}</caption>{_HEAD}<tbody>{rows}</tbody></table></div>"
    )


def _executed_first(decision: Decision) -> list[Candidate]:
    """Those executed as they were scored then, the others by value."""
    sign = -1 if decision.phase == "add" else 1
    others = [c for c in decision.candidates if c.action not in decision.taken]
    return [*decision.executed, *sorted(others, key=lambda c: sign * c.value)]


def _headline(decision: Decision) -> str:
    verb = "removed" if decision.phase == "remove" else "added"
    return (
        f"<b>Round {decision.round}</b> "
        f"<span>{verb} {len(decision.taken)} of {len(decision.candidates)}</span> "
        f"<span>{decision.latency_before_ms:.2f} → {decision.latency_after_ms:.2f} ms</span> "
        f"<span>CLIP {decision.clip_before:.4f} → {decision.clip_after:.4f}</span>"
    )


def _row(candidate: Candidate, taken: bool) -> str:
    kind = kind_of(candidate.action)
    doubt = "" if candidate.distinguishable else " <small>not distinguishable from zero</small>"
    opinion = candidate.second
    second = "" if opinion is None else f"<br><small>second judge {opinion}</small>"
    return (
        f'<tr class="{"taken" if taken else "left"}">'
        f'<th scope="row"><i class="kind {kind}">{KIND_LETTERS[kind]}</i> '
        f"{escape(str(candidate.action)).replace('-', '−')}</th>"
        f"<td>{signed(candidate.delta_clip, 4)} ± {candidate.margin:.4f}{doubt}{second}</td>"
        f"<td>{candidate.prompts}</td>"
        f"<td>{signed(candidate.delta_latency_ms, 2)}</td>"
        f"<td>{value_text(candidate.value)}</td>"
        f"<td>{'✓ yes' if taken else 'no'}</td></tr>"
    )
