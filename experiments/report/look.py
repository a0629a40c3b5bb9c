"""How all views look alike: the colour, letter and symbol of each block kind, and the canvas."""

from __future__ import annotations

import math
from typing import Any

import plotly.graph_objects as go

from search.action import Action
from supernet.architecture import CROSS_ATTENTION, RESNET

GROUP = "group"  # of actions on more than one ResNet or cross-attention block

# Of the palette of Okabe and Ito, which stays apart for colour-blind eyes; these also stand out
# from white and from black.
KIND_COLORS = {RESNET: "#0072B2", CROSS_ATTENTION: "#D55E00", GROUP: "#CC79A7"}
KIND_LETTERS = {RESNET: "R", CROSS_ATTENTION: "A", GROUP: "G"}
KIND_NAMES = {RESNET: "ResNet", CROSS_ATTENTION: "cross-attention", GROUP: "group"}
KIND_SYMBOLS = {RESNET: "square", CROSS_ATTENTION: "circle", GROUP: "diamond"}
TARGET, FRONT = "#009E73", "#E69F00"

# Middle tones are readable on a light page and on a dark one.
INK = "#7d8590"
FAINT = "rgba(125, 133, 144, 0.25)"
CLEAR = "rgba(0, 0, 0, 0)"
FAINT_MARK = "rgba(125, 133, 144, 0.55)"


def canvas(height: int, **layout: Any) -> go.Figure:
    """An empty figure of ``height`` px, as wide as its place and without a background."""
    figure = go.Figure()
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        font={"family": "system-ui, -apple-system, Segoe UI, sans-serif", "size": 13, "color": INK},
        hoverlabel={"bgcolor": "#20262e", "bordercolor": INK, "font": {"color": "#f2f4f7"}},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        hovermode="closest",
    )
    for update, standoff in ((figure.update_xaxes, 8), (figure.update_yaxes, 18)):
        update(gridcolor=FAINT, zeroline=False, automargin=True, title_standoff=standoff)
    figure.update_layout(**layout)
    return figure


def kind_of(action: Action) -> str:
    """What an action is on, as a key of the colours, letters and symbols."""
    sites = {block.site for block in action.members}
    return GROUP if len(sites) > 1 else sites.pop().kind


def signed(number: float, digits: int) -> str:
    """``+0.12`` or ``−0.12``, with the minus sign that is as wide as the plus."""
    return f"{number:+.{digits}f}".replace("-", "−")


def value_text(value: float) -> str:
    """The value of an action, CLIP score per ms."""
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:+.1e}".replace("-", "−")


def duration(seconds: float) -> str:
    """``1 h 12 min``, ``9 min 3 s`` or ``40 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
