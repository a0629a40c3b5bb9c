"""The page: views in order, with headings, captions and what to expect while they are empty."""

from __future__ import annotations

from html import escape
from pathlib import Path

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from experiments.report.block_map import block_map
from experiments.report.data import ReportData
from experiments.report.document import document, section
from experiments.report.faults import fault_list
from experiments.report.rounds import round_details
from experiments.report.samples import sample_grid
from experiments.report.stage_latency import stage_latency
from experiments.report.summary import summary
from experiments.report.tradeoff import tradeoff

_HERE = Path(__file__).parent

_RANKING = (
    "Executed actions stand first, in the order of choice and as they were last scored, the others "
    "by their value. Removals are chosen by the value that they would have if CLIP turned out "
    "<code>search.caution</code> standard errors (s.e.) worse than measured. After each of them "
    "the best ones left are scored again on top of it, <code>search.recheck</code> at a time, "
    "because blocks that stand in for each other cost nothing alone and much together."
)
_NO_DECISION = """<p class="empty">No decision yet. The search first trains the supernet, then
scores it without each of its blocks; a round appears here as soon as it is decided.</p>"""
_NO_SCRIPT = """<noscript><p class="empty">The plots need JavaScript; everything else, and every
figure in them, is below.</p></noscript>"""
_LINKS = {
    "tradeoff": "CLIP and latency",
    "blocks": "Blocks",
    "stages": "Stages",
    "samples": "Samples",
    "decisions": "Decisions",
    "workers": "Workers",
    "repeat": "Repeat it",
}
_NO_SAMPLES = """<p class="empty">No pictures yet. They are drawn when the search has ended: the
same prompts from the same noise, by the base UNet and by the one found.</p>"""


def page(data: ReportData) -> str:
    """The whole report as HTML that loads nothing from elsewhere."""
    table = data.latency.table.metadata.name
    sections = [
        _tradeoff_section(data, table),
        _map_section(data),
        _stages_section(data),
        section("samples", "Samples", _samples(data)),
        section("decisions", "Decisions", _decisions(data)),
        section("workers", "What happened to the workers", fault_list(data.faults)),
        _commands_section(data),
    ]
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    return document(
        data.title,
        table,
        summary(data),
        _LINKS,
        _NO_SCRIPT + "".join(sections),
        f"<script>{get_plotlyjs()}</script>\n<script>{script}</script>",
    )


def _tradeoff_section(data: ReportData, table: str) -> str:
    heading = "CLIP score against latency"
    if not data.decisions:
        return section("tradeoff", heading, _NO_DECISION)
    caption = """Every architecture that was evaluated, up and to the left is better. Open marks:
    the change of CLIP score is not distinguishable from zero. Between two rounds the weights are
    trained, so the same blocks may score differently (dotted). r1: round 1."""
    figure = tradeoff(data.decisions, data.target_ms, table, data.front)
    return section("tradeoff", heading, _figure("Scatter plot", figure, caption))


def _map_section(data: ReportData) -> str:
    caption = """The base UNet from noise (top left) to prediction (top right). Dashed and hollow:
    removed; ×2: doubled; r1: changed in round 1. What a block gives is the CLIP score lost
    without it, or gained by adding it, when it was last scored."""
    figure = _figure("Block map", block_map(data.latency, data.decisions), caption)
    return section("blocks", "Block map", figure)


def _stages_section(data: ReportData) -> str:
    caption = """What the blocks of each stage cost, base (pale) and found; the rest is what no
    removal saves: convolutions in and out, samplers, shortcuts. All bars together are the UNet."""
    figure = _figure("Bar chart", stage_latency(data.latency, data.found), caption)
    return section("stages", "Latency by stage", figure)


def _samples(data: ReportData) -> str:
    return sample_grid(data.samples) if data.samples else _NO_SAMPLES


def _decisions(data: ReportData) -> str:
    if not data.decisions:
        return _NO_DECISION
    return f'<p class="lead">{_RANKING}</p>{round_details(data.decisions)}'


def _commands_section(data: ReportData) -> str:
    lines = escape("\n".join(data.commands))
    wall_s = (data.result or {}).get("wall_s")
    took = f"<p>The run took {_duration(wall_s)}.</p>" if wall_s is not None else ""
    body = f'{took}<pre tabindex="0" aria-label="Commands"><code>{lines}</code></pre>'
    return section("repeat", "Repeat it", body)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _figure(what: str, figure: go.Figure, caption: str) -> str:
    # In JSON "<" may be written as an escape, and then no text in it can end the script.
    json = figure.to_json().replace("<", "\\u003c")
    return (
        f"<figure><figcaption>{caption}</figcaption>"
        f'<div class="plot" role="group" aria-label="{what}" '
        f'style="min-height: {figure.layout.height}px">'
        f'<script type="application/json">{json}</script></div></figure>'
    )
