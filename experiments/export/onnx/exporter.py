"""A folder that ``optimum.onnxruntime``, or ONNX Runtime alone, draws with."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

from rich.console import Console

from evaluators.pipelines import Pipeline
from experiments.export.artefact import Artefact, size_on_disk
from experiments.export.destination import write_out
from experiments.export.diffusers import forget_folders
from experiments.export.onnx.conversion import (
    check_difference,
    check_installed,
    convert_network,
    max_abs_diff,
)
from experiments.export.onnx.networks import UNET, Network, networks_of
from experiments.export.source import ExportSource
from experiments.progress import track

MODEL = "model.onnx"


def export_onnx(
    source: ExportSource, out: Path, overwrite: bool, console: Console
) -> tuple[Artefact, ...]:
    """Write UNet, image decoder and text encoders as ONNX models, each run and compared.

    The folder has ``unet``, ``vae_decoder`` and ``text_encoder`` with a ``model.onnx`` each,
    ``tokenizer``, ``scheduler``, ``model_index.json`` and ``spec.json``; of SDXL's pipelines a
    second text encoder and tokenizer.

    Returns:
        A line for each model.

    Raises:
        ExportError: if ``out`` is there already, there is no space left for it, what is needed
            is not installed, or a model differs too much from torch's; nothing is left then.
    """
    check_installed()
    networks = networks_of(source.pipeline)
    provenance = {
        "evounet.version": metadata.version("evounet"),
        "evounet.experiment": source.name,
        "evounet.spec": source.spec.architecture().id,
    }
    differences: dict[str, float] = {}

    def write(draft: Path) -> None:
        draft.mkdir()
        steps = 2 * len(networks)
        with track(console, "onnx: converting and running", steps) as on_progress:
            for network in networks:
                path = draft / network.name / MODEL
                path.parent.mkdir()
                convert_network(network, path, provenance)
                on_progress(2 * len(differences) + 1, {})
                difference = max_abs_diff(network, path)
                check_difference(network.name, difference)
                differences[network.name] = difference
                network.save_config(path.parent)
                on_progress(2 * len(differences), {"max_abs_diff": difference})
        _write_rest(source.pipeline, draft)
        forget_folders(draft)
        spec = source.spec.model_dump_json(indent=2) + "\n"
        (draft / "spec.json").write_text(spec, encoding="utf-8")

    write_out(out, overwrite, write)
    return tuple(_artefact(each, differences[each.name], out, source) for each in networks)


def _write_rest(pipeline: Pipeline, folder: Path) -> None:
    """Tokenizers, scheduler and the index, in which the networks have their stock names."""
    for name, part in pipeline.components.items():
        if name.startswith(("tokenizer", "scheduler")):
            part.save_pretrained(folder / name)
    pipeline.save_config(folder)
    index = folder / "model_index.json"
    value = json.loads(index.read_text(encoding="utf-8"))
    value |= {
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    index.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _artefact(network: Network, difference: float, out: Path, source: ExportSource) -> Artefact:
    return Artefact(
        network.name,
        out / network.name / MODEL,
        size_on_disk(out / network.name),
        network.parameters,
        f"run by ONNX Runtime: differs from torch by at most {difference:.2g}",
        source.latency_ms if network.name == UNET else {},
    )
