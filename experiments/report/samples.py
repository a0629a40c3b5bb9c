"""Pictures of the UNets side by side, as HTML."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

from PIL import Image
from torch import Tensor

from experiments.report.data import SampleSet

# px; larger pictures are embedded smaller and as JPEG, so that a report stays one to mail
LONGEST_SIDE = 192
_JPEG_QUALITY = 88
_BESIDE = 3  # pictures that fit beside each other in a card; of more, a card fills the page's width


def sample_grid(sets: Sequence[SampleSet]) -> str:
    """A card for every prompt, with the picture of each set, its CLIP score and the caption.

    Args:
        sets: at least one, all of the same captions.
    """
    cards = "".join(_card(sets, i) for i in range(len(sets[0].captions)))
    kind = "cards" if len(sets) <= _BESIDE else "cards many"
    return f'<div class="{kind}">{cards}</div>'


def round_strip(sets: Sequence[SampleSet]) -> str:
    """A row for every prompt, with the picture of each round beside that of the round before.

    Args:
        sets: see :func:`sample_grid`; the base first.
    """
    rows = "".join(_strip(sets, i) for i in range(len(sets[0].captions)))
    return (
        '<p class="lead">The first prompts of the search, as each round has scored them with its '
        "own weights.</p>"
        '<div class="strips scroll" role="region" aria-label="From round to round" tabindex="0">'
        f"{rows}</div>"
    )


def _strip(sets: Sequence[SampleSet], i: int) -> str:
    pictures = "".join(_picture(samples, i) for samples in sets)
    caption = escape(sets[0].captions[i])
    return (
        f'<figure class="strip"><figcaption>{caption}</figcaption>'
        f'<div class="pictures">{pictures}</div></figure>'
    )


def _card(sets: Sequence[SampleSet], i: int) -> str:
    caption = escape(sets[0].captions[i])
    pictures = "".join(_picture(samples, i) for samples in sets)
    return (
        f'<figure class="card"><div class="pictures">{pictures}</div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _picture(samples: SampleSet, i: int) -> str:
    title, caption = escape(samples.title), escape(samples.captions[i])
    return (
        f'<div><img src="{_data_uri(samples.images[i])}" alt="{title}: {caption}" loading="lazy">'
        f'<span>{title}</span><span class="number">CLIP {samples.clip_scores[i]:.3f}</span></div>'
    )


def _data_uri(image: Tensor) -> str:
    """A (3, h, w) image in [0, 1] as a PNG, or as a JPEG where it has to be smaller."""
    levels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    picture = Image.fromarray(levels)
    file, kind = io.BytesIO(), "png"
    if max(picture.size) > LONGEST_SIDE:
        picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
        kind = "jpeg"
    picture.save(file, kind, optimize=True, quality=_JPEG_QUALITY)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
