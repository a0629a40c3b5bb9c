"""A search of an SDXL pipeline from the command line, and what comes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    EDMEulerScheduler,
    StableDiffusionXLPipeline,
)
from in_process import Evounet, invented_table
from PIL import Image
from torch import Tensor

from evaluators.pipelines import load_pipeline
from experiments.trainer import noise_schedule
from experiments.unets import choose_unet
from latency_tables import read_table, write_table
from supernet.architecture import TRANSFORMER_LAYER
from supernet.parts import Inventory
from supernet.spec import read_spec
from tests.evaluators.small_models import save_clip, save_sdxl_pipeline

EXPERIMENT = """
name = "sdxl"
model.pipeline = "{pipeline}"
latency = {{ tables = ["toy"], target_ratio = 0.7 }}
workers.count = 1

[search]
rounds = 1
granularity = "transformer_layer"
groups = ["attention", "pair"]
growth = "identity"

[training]
data = "{pictures}"
round = {{ steps = 1, batch_size = 2 }}
final = {{ steps = 1, batch_size = 2 }}

[evaluation]
prompts.count = 2
sampling = {{ num_inference_steps = 1, batch_size = 2 }}
scorer.name = "{clip}"

[comparison]
prompts.count = 2
sampling = {{ num_inference_steps = 1, batch_size = 2 }}
repetitions = 3
reference = "{pictures}"
"""


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_sdxl_pipeline(tmp_path_factory.mktemp("sdxl"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_clip(tmp_path_factory.mktemp("clip")).name


def by_layer(pipeline: str) -> Inventory:
    return choose_unet(pipeline, granularity="transformer_layer").inventory


def save_pictures(folder: Path) -> Path:
    """Four captioned pictures."""
    pictures = folder / "pictures"
    pictures.mkdir()
    for number in range(4):
        Image.new("RGB", (16, 16), (60 * number, 0, 0)).save(pictures / f"{number}.png")
        (pictures / f"{number}.txt").write_text(f"a red of {number}")
    return pictures


@pytest.mark.slow
def test_it_is_searched_and_what_is_found_draws_in_a_stock_pipeline(
    evounet: Evounet, tables: Path, tmp_path: Path, pipeline: str, clip: str
) -> None:
    write_table(invented_table(by_layer(pipeline)), tables)
    experiment, run, out = tmp_path / "sdxl.toml", tmp_path / "run", tmp_path / "found-unet"
    filled = EXPERIMENT.format(pipeline=pipeline, clip=clip, pictures=save_pictures(tmp_path))
    experiment.write_text(filled)
    answer = evounet("search", experiment, "--run", run)
    assert answer.code == 0, answer.err

    result = json.loads((run / "result.json").read_text())
    assert result["unet_ms_after_predicted"] <= 0.7 * result["unet_ms_before_predicted"]
    assert result["unet_ms_after"] > 0
    assert result["clip_after"] != result["clip_before"]
    assert result["fid_after"] != result["fid_before"]
    architecture = read_spec(run / "spec.json").architecture()
    assert architecture.removed
    assert any(block.kind == TRANSFORMER_LAYER for block in architecture)

    answer = evounet("export", run, "--format", "diffusers", "--out", out)
    assert answer.code == 0, answer.err
    exported = DiffusionPipeline.from_pretrained(out, trust_remote_code=True)
    assert type(exported) is StableDiffusionXLPipeline
    assert exported.unet.num_parameters() == read_spec(out / "spec.json").parameters[1]
    exported.set_progress_bar_config(disable=True)
    assert exported("a small red circle", num_inference_steps=1).images[0].size == (16, 16)


def test_a_table_of_it_is_measured_and_calibrated(
    evounet: Evounet, tables: Path, pipeline: str
) -> None:
    here = (pipeline, "--table", "here", "--rounds", 2)
    assert evounet("profile", *here, "--threads", 1).code == 0
    answer = evounet("tables", "calibrate", *here, "--architectures", 3)
    assert answer.code == 0, answer.err
    [calibration] = read_table(tables / "here").metadata.calibrations
    assert calibration.architectures == 3


def test_training_noises_latents_as_the_unet_takes_them(pipeline: str) -> None:
    """SDXL's own scheduler adds noise to latents that it scales down only when it samples."""
    loaded = load_pipeline(pipeline)
    schedule, sampler = noise_schedule(loaded), loaded.scheduler
    assert torch.equal(schedule.alphas_cumprod, sampler.alphas_cumprod)
    generator = torch.Generator().manual_seed(0)
    latents, noise = torch.randn(2, 2, 4, 8, 8, generator=generator)
    timestep = torch.tensor([400, 900])
    noisy = schedule.add_noise(latents, noise, timestep)
    assert noisy.std(dim=(1, 2, 3)).tolist() == pytest.approx([1, 1], abs=0.1)
    sampler.set_timesteps(timesteps=[900, 400])
    for i, each in enumerate(timestep):
        theirs: Tensor = sampler.add_noise(latents[i : i + 1], noise[i : i + 1], each[None])
        sampler._step_index = None
        scaled = sampler.scale_model_input(theirs, each)
        torch.testing.assert_close(noisy[i : i + 1], scaled, atol=1e-4, rtol=0)


def test_a_sampler_that_is_ddim_already_trains_with_its_own_settings(pipeline: str) -> None:
    loaded = load_pipeline(pipeline)
    loaded.scheduler = DDIMScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", num_train_timesteps=50
    )
    assert noise_schedule(loaded).config == loaded.scheduler.config


def test_a_unet_of_another_noise_is_refused(
    evounet: Evounet, tables: Path, tmp_path: Path, clip: str
) -> None:
    folder = tmp_path / "edm"
    other = load_pipeline(save_sdxl_pipeline(folder))
    other.scheduler = EDMEulerScheduler()
    other.save_pretrained(folder)
    write_table(invented_table(by_layer(str(folder))), tables)
    experiment = tmp_path / "edm.toml"
    experiment.write_text(
        EXPERIMENT.format(pipeline=folder, clip=clip, pictures=save_pictures(tmp_path))
    )
    message = evounet.refused("search", experiment, "--run", tmp_path / "run")
    assert "scheduler, EDMEulerScheduler, has no beta_schedule" in message
    assert not (tmp_path / "run").exists()
