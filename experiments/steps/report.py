"""The report of a chain: its figures, and samples of every stage side by side."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from experiments.report.data import SampleSet
from experiments.report.document import document, section
from experiments.report.samples import sample_grid
from experiments.steps.measures import StepsComparison

_LINKS = {"figures": "Figures", "samples": "Samples"}


def steps_report(title: str, comparison: StepsComparison, samples: Sequence[SampleSet]) -> str:
    """One HTML file that loads nothing from elsewhere.

    Args:
        title: name of the run.
        comparison: of the stages.
        samples: of its drawings, at least one.
    """
    sections = [
        section("figures", "Figures", _figures(comparison)),
        section("samples", "Samples", sample_grid(samples)),
    ]
    return document(title, comparison.table_name, "", _LINKS, "".join(sections))


def _figures(comparison: StepsComparison) -> str:
    columns, rows = comparison.columns(), comparison.rows()
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in columns)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    label = escape(comparison.caption)
    return (
        f'<p class="lead">{label}</p>'
        '<div class="scroll" role="region" aria-label="Figures" tabindex="0">'
        f"<table><caption>{label}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )
