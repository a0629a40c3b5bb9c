"""The model card of an exported pipeline: what it is, how to draw with it, what it draws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from experiments.against_base import HEADINGS, changes, conditions, side_by_side
from experiments.export.source import ExportSource
from experiments.report.data import picture_name
from experiments.report.sample_files import load_samples

_SHOWN = 4  # pictures of each UNet
_FRONT_MATTER = """\
---
library_name: diffusers
pipeline_tag: text-to-image
tags: [text-to-image, evounet]
---
"""
_CODE = """\
{part} {what}. Its code is one short file, `{file}`, which `trust_remote_code=True` runs: read it \
first.
"""
_OWN = {
    "unet": _CODE.format(
        part="The UNet",
        what="lacks blocks that no configuration of stock diffusers can leave out",
        file="unet/standalone_unet.py",
    ),
    "vae": _CODE.format(
        part="The image decoder",
        what="has sizes that no configuration of stock diffusers can give it",
        file="vae/efficient_autoencoder.py",
    ),
}
_STOCK = "All parts are stock diffusers and transformers.\n"


def model_card(source: ExportSource, variant: str | None, own: Sequence[str]) -> str:
    """The text of ``README.md``.

    Args:
        source: what was exported.
        variant: of the weights.
        own: names of the parts whose folders carry the code of their classes.
    """
    return "\n".join(
        [
            _FRONT_MATTER,
            f"# {source.name}\n",
            "A text-to-image pipeline whose UNet evounet made faster, by removing blocks and "
            "adding copies of others.\n",
            "## Drawing with it\n",
            *_how_to_draw(variant, bool(own)),
            *([_OWN[part] for part in own] or [_STOCK]),
            "## The UNet beside its base\n",
            *_markdown_table(HEADINGS, side_by_side(source.spec)),
            "",
            *(f"- {line}" for line in conditions(source.spec)),
            "",
            "## What was changed\n",
            *(f"- {line}" for line in changes(source.spec)),
            "",
            "`spec.json` says all of it to programs.\n",
            *_pictures(source),
        ]
    )


def _how_to_draw(variant: str | None, own_code: bool) -> Iterator[str]:
    arguments = ['"path/of/this/folder"']
    if variant is not None:
        arguments += [f'variant="{variant}"', "torch_dtype=torch.float16"]
    if own_code:
        arguments.append("trust_remote_code=True")
    yield "```python"
    if variant is not None:
        yield "import torch"
    yield "from diffusers import DiffusionPipeline\n"
    yield f"pipeline = DiffusionPipeline.from_pretrained({', '.join(arguments)})"
    yield 'pipeline("...").images[0]'
    yield "```\n"


def _markdown_table(headings: Sequence[str], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    yield _markdown_row(headings)
    yield _markdown_row(["---"] * len(headings))
    for row in rows:
        yield _markdown_row(row)


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _pictures(source: ExportSource) -> Iterator[str]:
    """Pictures of the same prompts and noise, by the base and by the found UNet."""
    sets = load_samples(source.samples) if source.samples is not None else ()
    if not sets:
        return
    yield "## Pictures\n"
    rows = zip(*(samples.captions[:_SHOWN] for samples in sets), strict=True)
    pictures = (
        (captions[0], *(f"![](samples/{picture_name(s.title, i)})" for s in sets))
        for i, captions in enumerate(rows)
    )
    yield from _markdown_table(("prompt", *(s.title for s in sets)), pictures)
    yield ""
