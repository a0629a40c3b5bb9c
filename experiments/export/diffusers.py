"""``evounet export --format diffusers``: a pipeline that draws where evounet is not.

Its UNet is a stock one where stock diffusers can say it (:mod:`supernet.stock_unet`); else its
folder carries the one file of code that it needs, as that of a smaller image decoder does.
"""

from __future__ import annotations

import copy
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn

from evaluators.pipelines import Pipeline, own_parts, save_pipeline
from experiments.export.artefact import Artefact, size_on_disk
from experiments.export.destination import ExportError, write_out
from experiments.export.model_card import model_card
from experiments.export.source import ExportSource
from experiments.found import weights_files
from supernet.stock_unet import as_stock

Variant = Literal["fp16"]

# What an export is tried with: whether pictures are the same shows after two steps of one.
_PROMPT, _STEPS, _SEED = "a small red circle on a white background", 2, 0


@dataclass(frozen=True)
class Packing:
    """How weights are stored.

    Attributes:
        variant: half precision, in files that bear its name; None for fp32.
        max_shard_size: of a file of weights; more is shared out among several. As diffusers
            takes it: ``5GB``.

    Raises:
        ExportError: if that is no size.
    """

    variant: Variant | None = None
    max_shard_size: str = "10GB"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[1-9]\d*[KMG]B", self.max_shard_size):
            raise ExportError(f"--max-shard-size is {self.max_shard_size!r}; write it like 2GB")

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32 if self.variant is None else torch.float16


def export_diffusers(
    source: ExportSource, out: Path, overwrite: bool, packing: Packing | None = None
) -> tuple[Artefact, ...]:
    """Write a whole pipeline folder: all parts, the spec, a model card and sample pictures.

    Before it bears its name it is loaded as its users will load it, and draws what the source
    draws: in fp32 bit for bit.

    Raises:
        ExportError: if ``out`` is there already, there is no space left for it, a part of the
            pipeline is of a class that neither stock libraries nor evounet has, or what was
            written does not draw the same.
    """
    packing = packing or Packing()
    _check_parts(source.pipeline)
    stock = as_stock(source.unet)
    verified: list[str] = []

    def write(draft: Path) -> None:
        unet = source.unet if stock is None else stock
        pipeline = _packed(source.pipeline, unet, packing)
        save_pipeline(
            pipeline, draft, variant=packing.variant, max_shard_size=packing.max_shard_size
        )
        forget_folders(draft)
        _write_spec(source, draft)
        if source.samples is not None:
            shutil.copytree(source.samples, draft / "samples")
        verified.append(_verify(source, draft, packing))
        card = model_card(source, packing.variant, own_parts(pipeline))
        (draft / "README.md").write_text(card, encoding="utf-8")

    write_out(out, overwrite, write)
    unet = out / "unet"
    return (
        Artefact(
            "pipeline",
            out,
            size_on_disk(out),
            sum(_parameters(part) for part in source.pipeline.components.values()),
            verified[0],
        ),
        Artefact(
            "its UNet",
            unet,
            size_on_disk(unet),
            source.spec.parameters[1],
            "a stock class" if stock is not None else "with the code of its class",
            source.latency_ms,
        ),
    )


def _check_parts(pipeline: Pipeline) -> None:
    """See that stock libraries can load all parts that do not bring their code."""
    own = own_parts(pipeline)
    for name, part in pipeline.components.items():
        library = type(part).__module__.partition(".")[0]
        if name not in own and part is not None and library not in ("diffusers", "transformers"):
            raise ExportError(
                f"{name}: {type(part).__name__} is a class that stock diffusers does not have; "
                f"export the pipeline with its own {name}"
            )


def _packed(pipeline: Pipeline, unet: UNet2DConditionModel, packing: Packing) -> Pipeline:
    """A pipeline of the same kind with this UNet and weights as they are to be stored."""
    parts: dict[str, Any] = {"unet": unet}
    if packing.variant is not None:
        own = pipeline.components | parts
        parts = {
            name: nn.Module.to(copy.deepcopy(part), packing.dtype)
            for name, part in own.items()
            if isinstance(part, nn.Module)
        }
    packed = copy.copy(pipeline)
    packed.register_modules(**parts)
    return packed


def forget_folders(draft: Path) -> None:
    """Take out where parts were loaded from: folders that no other machine has."""
    for path in draft.rglob("*.json"):
        value = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(value, dict) and value.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _write_spec(source: ExportSource, draft: Path) -> None:
    """The spec, with the weights as they are stored here."""
    weights = weights_files(draft / "unet", draft)
    update = {"weights": weights, "tensors": None}
    provenance = source.spec.provenance.model_copy(update=update)
    spec = source.spec.model_copy(update={"provenance": provenance})
    (draft / "spec.json").write_text(spec.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _verify(source: ExportSource, draft: Path, packing: Packing) -> str:
    """Draw with what was written and with the source, and say how they compare.

    Raises:
        ExportError: if pictures of fp32 differ, or those of half precision are none.
    """
    loaded = DiffusionPipeline.from_pretrained(
        draft, variant=packing.variant, trust_remote_code=True, local_files_only=True
    ).to(packing.dtype)
    expected, drawn = _draw(source.pipeline), _draw(loaded)
    if packing.variant is None:
        if not torch.equal(drawn, expected):
            raise ExportError("the exported pipeline draws other pictures than the found UNet")
        return "loaded by diffusers: draws the found UNet's pictures bit for bit"
    if not drawn.isfinite().all():
        raise ExportError("in fp16 this pipeline draws no picture (NaN); export it in fp32")
    difference = (drawn.float() - expected).abs().max().item()
    return f"loaded by diffusers: pictures within {difference:.4f} of fp32, in [0, 1]"


@torch.no_grad()
def _draw(pipeline: Pipeline) -> Tensor:
    """A picture, ``(1, 3, height, width)`` with values in [0, 1]."""
    pipeline.set_progress_bar_config(disable=True)
    images: Tensor = pipeline(
        _PROMPT,
        num_inference_steps=_STEPS,
        generator=torch.Generator().manual_seed(_SEED),
        output_type="pt",
    ).images
    return images


def _parameters(part: object) -> int:
    return sum(w.numel() for w in part.parameters()) if isinstance(part, nn.Module) else 0
