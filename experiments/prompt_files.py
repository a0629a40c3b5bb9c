"""Prompts from files: text, MS-COCO's captions, and tables as those of Parti and DrawBench."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from experiments.experiment import ExperimentError
from latency_tables.parsing import parse_json

_COLUMNS = ("prompt", "prompts")  # Parti's and DrawBench's, in any case
# In Parti's table, quotation marks are part of the prompts that they stand in.
_DIALECTS: dict[str, dict[str, Any]] = {
    ".tsv": {"delimiter": "\t", "quoting": csv.QUOTE_NONE},
    ".csv": {"strict": True},
}


def read_prompts(path: Path) -> list[str]:
    """All different prompts of a file, in its order; the format follows from the suffix.

    ``.json`` is read as MS-COCO's captions, ``.tsv`` and ``.csv`` as tables with a column
    ``Prompt`` or ``Prompts``, anything else as text with one prompt a line.

    Raises:
        ExperimentError: naming the file, the place in it, and the fix.
    """
    suffix = path.suffix.lower()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ExperimentError(
            f"{path}: no readable text file ({error}); give one prompt a line, or 'shapes'"
        ) from error
    if suffix == ".json":
        prompts = _coco_captions(text, path)
    elif suffix in _DIALECTS:
        prompts = _column(text, _DIALECTS[suffix], path)
    else:
        prompts = text.splitlines()
    # One line each; what comes again would be drawn, and could be compared, twice.
    return [
        prompt for prompt in dict.fromkeys(" ".join(each.split()) for each in prompts) if prompt
    ]


def _coco_captions(text: str, path: Path) -> list[str]:
    """The caption with the lowest id of every image, by the images' ids."""
    try:
        captions = parse_json(text)
    except ValueError as error:
        raise ExperimentError(f"{path}: is no JSON ({error}); fetch it again") from error
    annotations = captions.get("annotations") if isinstance(captions, dict) else None
    if not isinstance(annotations, list):
        raise ExperimentError(
            f"{path}: has no list 'annotations'; give MS-COCO's captions_*.json, or a .txt file"
        )
    first: dict[int, tuple[int, str]] = {}
    for number, annotation in enumerate(annotations):
        image, own, caption = _annotation(annotation, f"{path}: annotations[{number}]")
        first[image] = min((own, caption), first.get(image, (own, caption)))
    return [caption for _, (_, caption) in sorted(first.items())]


def _annotation(annotation: Any, where: str) -> tuple[int, int, str]:
    match annotation:
        case {"image_id": int(image), "id": int(own), "caption": str(caption)}:
            return image, own, caption
    raise ExperimentError(
        f"{where} has not the numbers 'image_id' and 'id' and the text 'caption'; give MS-COCO's "
        "captions_*.json"
    )


def _column(text: str, dialect: dict[str, Any], path: Path) -> list[str]:
    try:
        table = csv.DictReader(io.StringIO(text, newline=""), **dialect)
        names = [name for name in table.fieldnames or () if name.strip().lower() in _COLUMNS]
        if not names:
            raise ExperimentError(
                f"{path}: its first line has no column Prompt or Prompts, only "
                f"{', '.join(map(repr, table.fieldnames or ())) or 'nothing'}; name one so"
            )
        return [row[names[0]] or "" for row in table]
    except csv.Error as error:
        raise ExperimentError(f"{path}, line {table.line_num}: {error}; mend it") from error
