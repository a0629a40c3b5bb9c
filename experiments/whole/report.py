"""The report of a whole run: its table, and both pipelines' pictures side by side."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from experiments.report.data import SampleSet
from experiments.report.document import document, section
from experiments.report.samples import sample_grid
from experiments.whole.measures import COLUMNS, WholeComparison

_LINKS = {"figures": "Figures", "samples": "Samples"}


def whole_report(
    title: str, table: str, comparison: WholeComparison, samples: Sequence[SampleSet]
) -> str:
    """One HTML file that loads nothing from elsewhere.

    Args:
        title: name of the run.
        table: name of the latency table that its search went by.
        comparison: of base and final pipeline.
        samples: of both.
    """
    sections = [
        section("figures", "Figures", _figures(comparison)),
        section("samples", "Samples", sample_grid(samples)),
    ]
    return document(title, table, "", _LINKS, "".join(sections))


def _figures(comparison: WholeComparison) -> str:
    head = "".join(f'<th scope="col">{name}</th>' for name in COLUMNS)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for name, *cells in comparison.rows()
    )
    lines = "".join(f"<li>{escape(line)}</li>" for line in comparison.shortfall())
    label = escape(comparison.caption)
    return (
        f'<p class="lead">{label}</p>'
        '<div class="scroll" role="region" aria-label="Figures" tabindex="0">'
        f"<table><caption>{label}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>" + (f"<ul>{lines}</ul>" if lines else "")
    )
