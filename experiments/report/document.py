"""What all reports are: one HTML file that loads nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from string import Template

from experiments.report.look import KIND_COLORS

_HERE = Path(__file__).parent


def document(
    title: str, table: str, summary: str, links: Mapping[str, str], sections: str, scripts: str = ""
) -> str:
    """A whole page.

    Args:
        title: for people.
        table: name of the latency table.
        summary: HTML at its head.
        links: to sections, anchor to text.
        sections: HTML of all of them, by :func:`section`.
        scripts: HTML at its end.
    """
    return _template("page.html").substitute(
        title=escape(title),
        table=escape(table),
        style=style(),
        summary=summary,
        links="\n".join(f'<a href="#{anchor}">{text}</a>' for anchor, text in links.items()),
        sections=sections,
        scripts=scripts,
    )


def style() -> str:
    """The style sheet of all pages."""
    colors = "".join(f"--{kind}: {color};" for kind, color in KIND_COLORS.items())
    return _template("page.css").substitute(kind_colors=colors)


def section(anchor: str, heading: str, body: str) -> str:
    """A part of the page that can be linked to."""
    title = f'<h2 id="{anchor}">{escape(heading)}</h2>'
    return f'<section aria-labelledby="{anchor}">{title}{body}</section>'


def _template(name: str) -> Template:
    return Template((_HERE / name).read_text(encoding="utf-8"))
