"""Do exports compute what the found UNet does, and what does SD v1.5's real size take?

The found UNet is the shapes pipeline's without the blocks that the demo's search removes, and
with a copy of one that it keeps. SD v1.5's has random weights: what a conversion takes does not
depend on them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from rich.console import Console
from safetensors.torch import load_file, save_file

from evaluators.pipelines import load_pipeline
from experiments.benchmarks.benchmark import Figure, Goal
from experiments.calibration import random_supernet
from experiments.export.coreml import exporter as coreml
from experiments.export.coreml.choices import Choices
from experiments.export.coreml.conversion import convert_network as convert_to_coreml
from experiments.export.coreml.manifest import NetworkRecord, Reference
from experiments.export.coreml.networks import unet_network
from experiments.export.coreml.verification import MIN_PSNR_DB
from experiments.export.diffusers import export_diffusers
from experiments.export.onnx import networks as onnx
from experiments.export.onnx.conversion import (
    MAX_ABS_DIFF,
    check_installed,
    max_abs_diff,
)
from experiments.export.onnx.conversion import convert_network as convert_to_onnx
from experiments.export.source import ExportSource, open_source
from experiments.models import SHAPES, pipeline_source
from experiments.peak_memory import with_peak_gib
from experiments.progress import track
from experiments.unets import choose_unet
from supernet.architecture import BlockId
from supernet.inventory import take_inventory, unet_config
from supernet.materialize import materialize

_REMOVED = {
    "resnet": "down.1/0 down.1/1 down.2/0 down.2/1 down.3/0 down.3/1 mid/0 mid/1 "
    "up.0/0 up.0/1 up.0/2 up.1/0 up.2/0",
    "cross_attention": "down.0/1 down.1/0 down.2/0 down.2/1 mid/0 "
    "up.1/0 up.1/1 up.1/2 up.2/0 up.3/2",
}
_ADDED = "cross_attention up.3/1"
_SD15_TOKENS, _SD15_TIMESTEPS = 77, 1000
# Evounet's packages cannot be imported here: Python takes None for a module that is not there.
_STOCK = """
import sys
for name in "experiments search evaluators distillation supernet latency_tables".split():
    sys.modules[name] = None
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file
folder, inputs, answer, threads = sys.argv[1:]
torch.set_num_threads(int(threads))  # sums depend on how they are shared out
unet = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True).unet.eval()
with torch.no_grad():
    save_file({"sample": unet(**load_file(inputs)).sample}, answer)
"""


def run(quick: bool, console: Console) -> list[Figure]:
    """Export the shapes pipeline in all formats and compare, and convert SD v1.5's UNet.

    Args:
        quick: the UNet of the shapes pipeline alone; nothing of SD v1.5's.
        console: for progress.
    """
    check_installed()
    with TemporaryDirectory() as name:
        folder = Path(name)
        source = _found_source(folder / "found")
        figures = [
            _diffusers_figure(source, folder),
            _onnx_figure(source, folder, quick, console),
            *_coreml_figures(source, folder, quick, console),
        ]
    return figures if quick else [*figures, *_sd15_figures(console)]


def _found_source(folder: Path) -> ExportSource:
    pipeline = load_pipeline(pipeline_source(SHAPES))
    full = take_inventory(unet_config(pipeline.unet)).full()
    removed = [f"{kind} {where}" for kind, places in _REMOVED.items() for where in places.split()]
    counts = dict.fromkeys(removed, 0) | {_ADDED: 2}
    architecture = full.with_multiplicities({BlockId.parse(each): counts[each] for each in counts})
    pipeline.register_modules(unet=materialize(pipeline.unet, architecture))
    pipeline.save_pretrained(folder)
    return open_source(folder)


def _what(source: ExportSource) -> str:
    counts = source.spec.multiplicities.values()
    removed, added = sum(n == 0 for n in counts), sum(n - 1 for n in counts if n > 1)
    return f"shapes UNet, {removed} of {len(counts)} blocks removed and {added} added"


def _diffusers_figure(source: ExportSource, folder: Path) -> Figure:
    export_diffusers(source, folder / "diffusers", overwrite=False)
    inputs, answer = folder / "inputs.safetensors", folder / "answer.safetensors"
    example = onnx.networks_of(source.pipeline)[-1]
    given = example.examples(example.extents[1])
    save_file(given, inputs)
    subprocess.run(
        [
            *(sys.executable, "-c", _STOCK),
            *(str(folder / "diffusers"), str(inputs), str(answer), str(torch.get_num_threads())),
        ],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        check=True,
        capture_output=True,
    )
    with torch.no_grad():
        expected = source.unet(**given).sample
    return Figure(
        "diffusers_max_abs_diff",
        (load_file(answer)["sample"] - expected).abs().max().item(),
        f"the exported pipeline's UNet, loaded by diffusers {metadata.version('diffusers')} in a "
        f"process where evounet cannot be imported, against the found one; {_what(source)}, fp32",
        goal=Goal("<=", 0),
    )


def _onnx_figure(source: ExportSource, folder: Path, quick: bool, console: Console) -> Figure:
    *others, unet = onnx.networks_of(source.pipeline)
    networks = [unet] if quick else [*others, unet]
    differences: list[float] = []
    with track(console, "export: ONNX", len(networks)) as on_progress:
        for network in networks:
            model = folder / f"{network.name}.onnx"
            convert_to_onnx(network, model, {})
            differences.append(max_abs_diff(network, model))
            on_progress(len(differences), {"max_abs_diff": differences[-1]})
    names = ", ".join(network.name for network in networks)
    return Figure(
        "onnx_max_abs_diff",
        torch.tensor(differences).max().item(),  # not a number if one of them is none
        f"onnxruntime {metadata.version('onnxruntime')} on the CPU against torch, all outputs of "
        f"{names}, 2 batch sizes, picture sizes and prompt lengths; {_what(source)}, fp32",
        goal=Goal("<=", MAX_ABS_DIFF),
    )


def _coreml_figures(
    source: ExportSource, folder: Path, quick: bool, console: Console
) -> list[Figure]:
    *others, unet = coreml.networks_of(source, batch=2)
    networks = [unet] if quick else [*others, unet]
    records: list[NetworkRecord] = []
    for network in networks:
        packages = folder / "coreml" / network.name
        packages.mkdir(parents=True)
        records.append(coreml.write_network(network, Choices(), packages, {}, Reference(), console))
    names = ", ".join(network.name for network in networks)
    what = (
        f"Core ML packages of {names} in fp16, run by evounet's interpreter of their programs, "
        f"against torch in fp32; {_what(source)}"
    )
    return [
        Figure("coreml_max_abs_diff", max(each.max_abs_diff for each in records), what),
        Figure(
            "coreml_psnr_db",
            min(each.psnr_db for each in records),
            f"the lowest of them; {what}",
            goal=Goal(">=", MIN_PSNR_DB),
        ),
    ]


def _sd15_figures(console: Console) -> list[Figure]:
    with track(console, "export: SD v1.5's UNet to Core ML", 1) as on_progress:
        seconds, peak_gib = with_peak_gib(_convert_sd15)
        on_progress(1, {"peak_gib": peak_gib})
    what = (
        "SD v1.5's UNet, 512x512 pixels, batch 2, random weights, to a Core ML package in fp16, "
        f"coremltools {metadata.version('coremltools')}, in a process of its own"
    )
    return [
        Figure("sd15_coreml_s", seconds, f"{what}, {torch.get_num_threads()} threads"),
        Figure(
            "sd15_coreml_peak_gib",
            peak_gib,
            f"peak resident memory; {what}",
            goal=Goal("<=", 20),
        ),
    ]


def _convert_sd15() -> float:
    """Seconds from the UNet in torch to the package on disk."""
    unet = random_supernet(choose_unet("sd15").inventory, torch.float32).unet.eval()
    network = unet_network(unet, _SD15_TOKENS, _SD15_TIMESTEPS)
    with TemporaryDirectory() as name:
        start = time.perf_counter()
        convert_to_coreml(network, Path(name), "fp16", {})
        return time.perf_counter() - start
