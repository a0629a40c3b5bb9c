"""The page: views in order, with headings, captions and what to expect while they are empty."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from html import escape
from pathlib import Path

from experiments.report.block_map import block_map
from experiments.report.data import ReportData
from experiments.report.document import document, section
from experiments.report.figure_html import plot, plot_with_slider, scripts
from experiments.report.rounds import round_details
from experiments.report.samples import round_strip, sample_grid
from experiments.report.stage_latency import stage_latency, stage_parameters
from experiments.report.state import state
from experiments.report.summary import summary
from experiments.report.tradeoff import tradeoff
from experiments.report.training_curves import training_curves
from search.state import write_atomically

MAX_BYTES = 5_000_000  # of a report, which is for mail and archives too

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
_NO_SAMPLES = """<p class="empty">No pictures yet. They are drawn when the search has ended: the
same prompts from the same noise, by the base UNet and by the one found.</p>"""
_NO_ROUNDS = """<p class="empty">No pictures of its rounds: they are drawn after every decision, and
this run has not come to one, or an earlier evounet made it.</p>"""
_NO_CURVES = """<p class="empty">No training was kept: none has begun yet, the experiment asks for
none, or an earlier evounet made this run.</p>"""
_LINKS = {
    "tradeoff": "CLIP and latency",
    "blocks": "Blocks",
    "stages": "Stages",
    "samples": "Samples",
    "training": "Training",
    "decisions": "Decisions",
    "state": "State",
    "repeat": "Repeat it",
}


def write_report(path: Path, data: ReportData) -> None:
    """Write the report; at any moment the old or the new one is there, whole.

    Of a search of very many rounds it shows some of them in less detail, to stay within
    :data:`MAX_BYTES`.
    """
    html = page(data, len(data.decisions))
    detailed = len(data.decisions)
    while len(html.encode()) > MAX_BYTES and detailed > 1:
        detailed //= 2
        html = page(data, detailed)
    write_atomically(path, html)


def page(data: ReportData, detailed: int) -> str:
    """The whole report as HTML that loads nothing from elsewhere.

    Args:
        data: what it shows.
        detailed: how many rounds have their own block map, pictures and table of candidates.
    """
    table = data.latency.table.metadata.name
    rounds = _spread([decision.round for decision in data.decisions], detailed)
    sections = [
        section("tradeoff", "CLIP score against latency", _tradeoff(data, table)),
        section("blocks", "Block map", _map(data, rounds)),
        section("stages", "Latency and parameters by stage", _stages(data)),
        section("samples", "Samples", _samples(data, rounds)),
        section("training", "Training", _curves(data)),
        section("decisions", "Decisions", _decisions(data, rounds)),
        section("state", "State", state(data)),
        section("repeat", "Repeat it", _repeat(data)),
    ]
    body = _NO_SCRIPT + "".join(sections)
    return document(data.title, table, summary(data), _LINKS, body, scripts())


def _spread(rounds: Sequence[int], count: int) -> set[int]:
    """So many of the rounds, evenly spread, the last one among them."""
    if count >= len(rounds):
        return set(rounds)
    return {rounds[-1 - i * len(rounds) // count] for i in range(count)}


def _tradeoff(data: ReportData, table: str) -> str:
    if not data.decisions:
        return _NO_DECISION
    caption = """Every architecture that was evaluated, up and to the left is better. Open marks:
    the change of CLIP score is not distinguishable from zero. Between two rounds the weights are
    trained, so the same blocks may score differently (dotted). r1: round 1."""
    figure = tradeoff(data.decisions, data.target_ms, table, data.front, data.others, data.best)
    return plot("Scatter plot of CLIP score against latency", figure, caption)


def _map(data: ReportData, rounds: Collection[int]) -> str:
    caption = """The base UNet from noise (top left) to prediction (top right). Dashed and hollow:
    removed; ×2: doubled; r1: changed in round 1. What a block gives is the CLIP score lost
    without it, or gained by adding it, when it was last scored."""
    states = {"base": block_map(data.latency, ())} | {
        f"after round {decision.round}": block_map(data.latency, data.decisions[: i + 1])
        for i, decision in enumerate(data.decisions)
        if decision.round in rounds
    }
    return plot_with_slider("Block map", states, caption)


def _stages(data: ReportData) -> str:
    caption = """What the blocks of each stage cost, base (pale) and found; the rest is what no
    removal saves: convolutions in and out, samplers, shortcuts. All bars together are the UNet."""
    time = stage_latency(data.latency, data.found)
    weights = stage_parameters(data.inventory, data.found)
    return (
        f'<p class="lead">{caption}</p><div class="pair">'
        f"{plot('Bar chart of latency by stage', time, 'Latency')}"
        f"{plot('Bar chart of parameters by stage', weights, 'Parameters')}</div>"
    )


def _samples(data: ReportData, rounds: Collection[int]) -> str:
    pictures = sample_grid(data.samples) if data.samples else _NO_SAMPLES
    titles = {"base", *(f"round {round_}" for round_ in rounds)}
    sets = [samples for samples in data.round_samples if samples.title in titles]
    strip = round_strip(sets) if sets else _NO_ROUNDS
    return f"<h3>Base and found</h3>{pictures}<h3>From round to round</h3>{strip}"


def _curves(data: ReportData) -> str:
    if not data.curves:
        return _NO_CURVES
    caption = """Loss of single steps (pale) and the mean around each; blocks are dropped at random
    in a step, so it varies. Trainings follow one another, each with a schedule of its own; r1: the
    one before the decision of round 1."""
    return plot("Curves of loss and learning rate", training_curves(data.curves), caption)


def _decisions(data: ReportData, rounds: Collection[int]) -> str:
    if not data.decisions:
        return _NO_DECISION
    return f'<p class="lead">{_RANKING}</p>{round_details(data.decisions, rounds)}'


def _repeat(data: ReportData) -> str:
    conditions = "".join(f"<li>{escape(line)}</li>" for line in data.conditions)
    lines = escape("\n".join(data.commands))
    return (
        f'<ul>{conditions}</ul><pre tabindex="0" aria-label="Commands"><code>{lines}</code></pre>'
    )
