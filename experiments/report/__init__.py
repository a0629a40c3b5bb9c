"""The report of a run: one HTML file that needs no network."""

from __future__ import annotations

from pathlib import Path

from experiments.report.data import ReportData, SampleSet
from experiments.report.page import page
from search.state import write_atomically

__all__ = ["ReportData", "SampleSet", "write_report"]


def write_report(path: Path, data: ReportData) -> None:
    """Write the report; at any moment the old or the new one is there, whole."""
    write_atomically(path, page(data))
