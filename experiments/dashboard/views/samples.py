"""Pictures of the same prompts from the same noise, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlencode

from dash import html
from dash.development.base_component import Component

from experiments.dashboard.runs import Run, Samples
from experiments.dashboard.scene import Scene
from experiments.dashboard.views.view import NothingYet, Row, View

_CAPTION = (
    "The same prompts from the same noise, each picture with its own CLIP score. After every round "
    "they are drawn with the weights that it was decided with; at the end by the base and by what "
    "was found, on prompts that the search never used."
)


def picture_address(run: Run, samples: Samples, number: int) -> str:
    """Where the server has one of the pictures."""
    of = "rounds" if samples in run.round_samples else "end"
    asked = {"run": run.name, "of": of, "title": samples.title, "number": number}
    return "/sample.png?" + urlencode(asked)


def _body(scene: Scene) -> list[Component]:
    run = scene.run
    if not (run.samples or run.round_samples):
        raise NothingYet(
            f"Run '{run.name}' has no pictures yet. The first are drawn after the first decision; "
            f"'evounet resume {run.folder.path}' continues a search that was interrupted."
        )
    parts: list[Component] = []
    for title, sets in (("Round by round", run.round_samples), ("At the end", run.samples)):
        if sets:
            cards = [_card(run, sets, i) for i in range(len(sets[0].captions))]
            parts += [html.H3(title), html.Div(cards, className="cards", style=_widths(sets))]
    return parts


def _widths(sets: tuple[Samples, ...]) -> dict[str, str]:
    """A card is as wide as its pictures need."""
    least = max(290, 110 * len(sets))
    return {"gridTemplateColumns": f"repeat(auto-fill, minmax(min({least}px, 100%), 1fr))"}


def _card(run: Run, sets: tuple[Samples, ...], i: int) -> Component:
    pictures = html.Div([_picture(run, each, i) for each in sets], className="pictures")
    return html.Figure([pictures, html.Figcaption(sets[0].captions[i])], className="card")


def _picture(run: Run, samples: Samples, i: int) -> Component:
    text = f"{samples.title}: {samples.captions[i]}"
    return html.Div(
        [
            html.Img(src=picture_address(run, samples, i), alt=text),
            html.Span(samples.title),
            html.Span(f"CLIP {samples.clip_scores[i]:.3f}", className="number"),
        ]
    )


def _rows(scene: Scene) -> Iterator[Row]:
    yield "when", "prompt", "UNet", "CLIP score"
    for when, sets in (("round", scene.run.round_samples), ("end", scene.run.samples)):
        for samples in sets:
            for caption, clip in zip(samples.captions, samples.clip_scores, strict=True):
                yield when, caption, samples.title, clip


SAMPLES = View("samples", "Samples", _CAPTION, _rows, body=_body)
