"""Pictures of the UNets side by side, as HTML."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

from PIL import Image
from torch import Tensor

from experiments.report.data import SampleSet

LONGEST_SIDE = 192  # px; larger pictures are embedded smaller, so that a report stays one to mail


def sample_grid(sets: Sequence[SampleSet]) -> str:
    """A card for every prompt, with the picture of each set, its CLIP score and the caption.

    Args:
        sets: at least one, all of the same captions.
    """
    cards = "".join(_card(sets, i) for i in range(len(sets[0].captions)))
    return f'<div class="cards">{cards}</div>'


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
    """A PNG of a (3, h, w) image in [0, 1]."""
    levels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    picture = Image.fromarray(levels)
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
