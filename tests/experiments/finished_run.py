"""A run folder as a search leaves it, made in a second: an untrained found UNet of shapes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from evaluators.pipelines import load_pipeline
from experiments.experiment import load_experiment
from experiments.found import weights_files
from experiments.models import pipeline_source
from experiments.report.data import SampleSet
from experiments.report.sample_files import save_samples
from experiments.run_folder import RunFolder
from supernet.architecture import BlockId
from supernet.inventory import take_inventory, unet_config
from supernet.materialize import materialize
from supernet.spec import ClipFigure, Provenance, Spec, TableFigure, build_spec


def finished_run(path: Path, changed: Mapping[str, int]) -> RunFolder:
    """The run of a search that ended with these multiplicities."""
    run = RunFolder(path)
    run.create(load_experiment(Path("demo")))
    base = load_pipeline(pipeline_source("shapes")).unet
    inventory = take_inventory(unet_config(base))
    counts = {BlockId.parse(block): count for block, count in changed.items()}
    architecture = inventory.full().with_multiplicities(counts)
    materialize(base, architecture).save_pretrained(run.unet)
    spec = build_spec(
        inventory,
        architecture,
        (TableFigure(table="toy", device="a toy", precision="fp32", base_ms=30.0, found_ms=15.0),),
        ClipFigure(
            base=0.95,
            found=0.93,
            prompts=2,
            num_inference_steps=12,
            guidance_scale=4.0,
            judge="shapes",
        ),
        Provenance(
            experiment="demo", seed=0, evounet="0", weights=weights_files(run.unet, run.path)
        ),
    )
    write_spec(run, spec)
    pictures = torch.full((1, 3, 64, 64), 0.5)
    samples = [SampleSet(title, pictures, ("a circle",), (0.9,)) for title in ("base", "found")]
    save_samples(run.samples, samples)
    run.result.write_text("{}")
    return run


def write_spec(run: RunFolder, spec: Spec) -> None:
    run.spec.write_text(spec.model_dump_json())
