"""The preset for Stable Diffusion on a phone, with tiny models of the same classes."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path

import pytest
from diffusers import DDIMScheduler, StableDiffusionPipeline
from in_process import Evounet, invented_table
from PIL import Image

from evaluators.latency import TableLatency
from evaluators.pipelines import load_pipeline
from experiments.decoder.choice import choose_decoders
from experiments.unets import choose_unet
from latency_tables import LatencyRow, LatencyTable, write_table
from supernet.spec import read_spec
from tests.evaluators.small_models import save_clip, save_pipeline

FEWER = (
    "evaluation.prompts.count=2",
    "evaluation.sampling.num_inference_steps=1",
    "evaluation.sampling.batch_size=2",
    "search.rounds=1",
    "supernet.workers=1",
    "supernet.use_gpu=false",
    "supernet.training.steps=2",
    "supernet.training.batch_size=2",
    "training.workers=1",
    "training.use_gpu=false",
    "training.round.steps=1",
    "training.round.batch_size=2",
    "training.final.steps=1",
    "training.final.batch_size=2",
    "workers.gpus=0",
    "workers.count=1",
    "decoder.pairs.count=4",
    "decoder.pairs.shard_size=2",
    "decoder.pairs.sampling.num_inference_steps=2",
    "decoder.pairs.sampling.batch_size=2",
    "decoder.pairs.sampling.guidance_scale=1",
    "decoder.training.steps=2",
    "decoder.training.batch_size=2",
    "steps.workers=1",
    "steps.use_gpu=false",
    "steps.guidance_scales=[3.0]",
    *(f"steps.stages.{stage}.training.steps=1" for stage in range(5)),
    *(f"steps.stages.{stage}.training.batch_size=2" for stage in range(5)),
    "whole.base_steps=3",
    "whole.timed=2",
    "comparison.prompts.skip=2",
    "comparison.prompts.count=2",
    "comparison.sampling.num_inference_steps=1",
    "comparison.repetitions=3",
    "comparison.features=judge",  # Inception's weights are no small ones
)


def table_of_all(pipeline: str) -> LatencyTable:
    """With the parts of the UNet, of the decoder and of that with half of the channels."""
    table = invented_table(choose_unet(pipeline).inventory)
    decoders = choose_decoders(pipeline, [0.5]).signatures
    rows = dict(zip(decoders, (LatencyRow(each, 0.01, 30) for each in count(1.0)), strict=False))
    return LatencyTable(table.metadata, {**rows, **table.rows})


def save_stable_diffusion(folder: Path) -> str:
    """Random weights say nothing of noise, so latents grow by all that a schedule takes away."""
    pipeline = save_pipeline(folder)
    scheduler = DDIMScheduler(beta_end=0.004, clip_sample=False, steps_offset=1)
    scheduler.save_pretrained(folder / "scheduler")
    return pipeline


def save_coco(folder: Path) -> None:
    """Captions and pictures as the preset looks for them."""
    for name, first in (("train", 0), ("val", 100)):
        annotations = [
            {"image_id": number, "id": number, "caption": f"a cat of {first + number}"}
            for number in range(8)
        ]
        file = folder / "coco/annotations" / f"captions_{name}2014.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"annotations": annotations}))
        pictures = folder / "coco" / name
        pictures.mkdir()
        for number in range(8):
            picture = Image.new("RGB", (16, 16), (30 * number, first, 0))
            picture.save(pictures / f"{number}.png")
            (pictures / f"{number}.txt").write_text(f"a red of {number}")


@pytest.mark.slow
def test_the_preset_runs_to_its_end(
    evounet: Evounet, tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = save_stable_diffusion(tmp_path / "sd")
    clip = save_clip(tmp_path / "clip").name
    table = table_of_all(pipeline)
    write_table(table, tables)
    save_coco(tmp_path)
    monkeypatch.chdir(tmp_path)
    inventory = choose_unet(pipeline).inventory
    target = 0.8 * TableLatency(inventory, table)(inventory.full())
    changes = (
        *FEWER,
        f"model.pipeline={pipeline}",
        f"latency.tables=['{table.metadata.name}']",
        f"latency.target_ms={target}",
        f"evaluation.scorer={{ name = '{clip}' }}",
    )
    options = [f"--set={each}" for each in changes]

    answer = evounet("run", "sd15_iphone14pro", "--run", "run", *options)
    assert answer.code == 0, answer.err
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["steps_base"] == 3
    assert result["steps_final"] == 8
    spec = read_spec(tmp_path / "run/search/spec.json")
    assert spec.architecture().removed
    final = load_pipeline(str(tmp_path / "run/pipeline"))
    assert isinstance(final, StableDiffusionPipeline)
    assert final.scheduler.config.prediction_type == "v_prediction"
    assert final.vae.decoder.conv_in.out_channels == 8
    assert final.unet.num_parameters() == spec.parameters[1]
    with_nothing_left = evounet("run", "sd15_iphone14pro", "--run", "run", *options)
    assert with_nothing_left.code == 0, with_nothing_left.err
