"""Plots as HTML: what they show as JSON, drawn by plotly.js, which is packed into the page."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping
from functools import cache
from html import escape
from pathlib import Path

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

_SCRIPT = Path(__file__).with_name("page.js")


def plot(what: str, figure: go.Figure, caption: str) -> str:
    """A plot below its caption.

    Args:
        what: it is, for those who cannot see it.
        figure: with a height.
        caption: as HTML.
    """
    return _figure(what, {"": figure}, caption)


def plot_with_slider(what: str, figures: Mapping[str, go.Figure], caption: str) -> str:
    """The same with a slider through several states, by their names; the last one is shown first.

    Args:
        what: see :func:`plot`.
        figures: alike but for what changes from state to state, at least one.
        caption: see :func:`plot`.
    """
    last = len(figures) - 1
    if not last:
        return _figure(what, figures, caption)
    names = list(figures)
    ends = f"<span>{escape(names[0])}</span><span>{escape(names[-1])}</span>"
    slider = (
        f'<label class="slider">Show: <output>{escape(names[-1])}</output>'
        f'<input type="range" min="0" max="{last}" value="{last}" step="1" '
        f'aria-valuetext="{escape(names[-1])}"><span class="ends" aria-hidden="true">{ends}</span>'
        "</label>"
    )
    return _figure(what, figures, caption, slider)


def scripts() -> str:
    """What draws all plots of a page; stands at its end, once."""
    return (
        f'<script type="application/gzip" id="plotly">{_packed_plotly()}</script>\n'
        f"<script>{_SCRIPT.read_text(encoding='utf-8')}</script>"
    )


@cache
def _packed_plotly() -> str:
    """plotly.js, a third of its size and the same bytes every time."""
    packed = gzip.compress(get_plotlyjs().encode(), compresslevel=9, mtime=0)
    return base64.b64encode(packed).decode()


def _figure(what: str, figures: Mapping[str, go.Figure], caption: str, slider: str = "") -> str:
    states = "".join(_state(name, figure) for name, figure in figures.items())
    height = next(iter(figures.values())).layout.height
    return (
        f"<figure><figcaption>{caption}</figcaption>{slider}"
        f'<div class="plot" role="group" aria-label="{escape(what)}" '
        f'style="min-height: {height}px">{states}</div></figure>'
    )


def _state(name: str, figure: go.Figure) -> str:
    # In JSON "<" may be written as an escape, and then no text in it can end the script.
    json = figure.to_json().replace("<", "\\u003c")
    return f'<script type="application/json" data-name="{escape(name)}">{json}</script>'
