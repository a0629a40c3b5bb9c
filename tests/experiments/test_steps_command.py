"""``evounet distill steps`` from the outside: what it leaves, going on, and bad input."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from in_process import Evounet, invented_table
from safetensors.torch import load_file
from test_search_sdxl import save_pictures
from torch import Tensor

from distillation import step_training
from distillation.step_loss import two_steps
from evaluators.pipelines import load_pipeline
from experiments.comparison import Pictures
from experiments.experiment import load_experiment
from experiments.steps import chain, measures
from experiments.steps import run as steps_run
from experiments.steps.measures import Drawing
from experiments.unets import choose_unet
from latency_tables import write_table
from supernet.architecture import BlockId
from supernet.inventory import take_inventory, unet_config
from supernet.materialize import architecture_of, materialize
from supernet.standalone_unet import StandaloneUNet
from tests.evaluators.small_models import save_clip, save_pipeline, save_sdxl_pipeline

HEAD = """
name = "steps"
model.pipeline = "{pipeline}"
latency = {{ tables = ["toy"], target_ratio = 1.0 }}
evaluation.scorer.name = "{clip}"

[comparison]
prompts.count = 2
sampling = {{ num_inference_steps = 3, guidance_scale = 2.0, batch_size = 2 }}
reference = "{pictures}"

[steps]
data = "{pictures}"
"""
VELOCITIES = """
[[steps.stages]]
name = "velocities"
kind = "v_prediction"
student = "{pipeline}"
zero_terminal_snr = true
training = {{ steps = 2, batch_size = 2, warmup_steps = 0, checkpoint_every = 1 }}
"""
FOUR = """
[[steps.stages]]
name = "four"
kind = "distillation"
teacher = "velocities"
student = "velocities"
teacher_steps = 8
training = {{ student_steps = 4, steps = 3, batch_size = 2, checkpoint_every = 1 }}
"""
TWO = """
[[steps.stages]]
name = "two"
kind = "distillation"
teacher = "four"
student = "four"
teacher_steps = 4
training = {{ student_steps = 2, steps = 2, batch_size = 2, guided_share = 1.0, warmup_steps = 0 }}
"""


class World:
    """A small pipeline of noise, a judge, pictures, and experiments about them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pipeline = save_pipeline(folder / "pipeline")
        (folder / "clip").mkdir()
        self.clip = save_clip(folder / "clip").name
        self.pictures = save_pictures(folder)

    def experiment(self, *stages: str) -> Path:
        path = self.folder / "steps.toml"
        text = "".join([HEAD, *stages])
        path.write_text(text.format(pipeline=self.pipeline, clip=self.clip, pictures=self.pictures))
        return path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(autouse=True)
def table(world: World, tables: Path) -> None:
    write_table(invented_table(choose_unet(world.pipeline).inventory), tables)


def weights(run: Path, stage: str) -> dict[str, Tensor]:
    return load_file(run / "stages" / stage / "unet" / "diffusion_pytorch_model.safetensors")


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_every_stage_is_a_pipeline_that_stock_diffusers_draws_with(
    evounet: Evounet, world: World, tmp_path: Path
) -> None:
    run, experiment = tmp_path / "run", world.experiment(VELOCITIES, FOUR, TWO)
    answer = evounet("distill", "steps", experiment, "--run", run)
    assert answer.code == 0, answer.err
    assert "four: 8 -> 4 steps" in answer.out

    timesteps = {"velocities": 3, "four": 4, "two": 2}
    pipelines = {}
    for stage, steps in timesteps.items():
        pipeline = StableDiffusionPipeline.from_pretrained(run / "stages" / stage)
        assert isinstance(pipeline.scheduler, DDIMScheduler)
        assert type(pipeline.unet) is UNet2DConditionModel
        config = pipeline.scheduler.config
        assert config.prediction_type == "v_prediction"
        assert config.timestep_spacing == "trailing"
        assert config.rescale_betas_zero_snr
        pipeline.set_progress_bar_config(disable=True)
        drawn = pipeline("a red of 1", num_inference_steps=steps, output_type="pt").images
        assert torch.isfinite(drawn).all()
        assert pipeline.scheduler.timesteps[0] == 999
        pipelines[stage] = pipeline.unet.state_dict()
    assert not equal(pipelines["velocities"], pipelines["four"])
    assert not equal(pipelines["four"], pipelines["two"])

    result = json.loads((run / "result.json").read_text())
    drawings = [(each["model"], each["steps"]) for each in result["drawn"]]
    assert drawings == [
        (world.pipeline, 3),
        ("velocities", 3),
        ("velocities", 8),
        (world.pipeline, 4),
        ("velocities", 4),
        ("four", 4),
        (world.pipeline, 2),
        ("four", 2),
        ("two", 2),
    ]
    assert {"clip", "clip_error", "fid", "unet_ms"} <= result["drawn"][0].keys()
    one_pass = result["drawn"][0]["unet_ms"] / 3
    assert result["drawn"][-1]["unet_ms"] == pytest.approx(2 * one_pass)
    assert len(list((run / "samples").glob("*.png"))) == 2 * len(drawings)
    report = (run / "report.html").read_text()
    assert report.count("<tr>") == 1 + len(drawings)
    assert report.count("data:image/png") == 2 * len(drawings)
    assert not (run / "checkpoints" / "four").exists()
    assert not (run / "drawn").exists()
    assert "call 'evounet distill steps' again" in evounet.refused("resume", run)


def test_done_stages_are_skipped_and_changes_are_followed(
    evounet: Evounet, world: World, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = ("distill", "steps", world.experiment(VELOCITIES, FOUR, TWO), "--run", run)
    assert evounet(*command).code == 0
    before = {stage: weights(run, stage) for stage in ("velocities", "four", "two")}

    again = evounet(*command)
    assert [f"{stage}: done already" in again.out for stage in before] == [True] * 3
    world.experiment(VELOCITIES, FOUR.replace("steps = 3", "steps = 1"), TWO)
    changed = evounet(*command)
    assert changed.code == 0, changed.err
    assert "velocities: done already" in changed.out
    for stage in ("four", "two"):
        assert f"{stage}: its settings or inputs have changed" in changed.out
        assert not equal(before[stage], weights(run, stage))
    assert equal(before["velocities"], weights(run, "velocities"))
    assert load_experiment(run / "experiment.toml").steps.stages[1].training.steps == 1
    world.experiment(VELOCITIES, FOUR, TWO)
    assert evounet(*command).code == 0
    assert all(equal(before[stage], weights(run, stage)) for stage in before)

    (run / "stages" / "two" / "stage.json").write_text("{")
    assert f"delete {run / 'stages' / 'two'}" in evounet.refused(*command)


def test_students_of_one_teacher_share_what_it_says(
    evounet: Evounet, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worked_out = 0

    def counted(*arguments: Any) -> Tensor:
        nonlocal worked_out
        worked_out += 1
        return two_steps(*arguments)

    monkeypatch.setattr(step_training, "two_steps", counted)
    other = FOUR.replace('"four"', '"other"').replace("batch_size", "original = 0.5, batch_size")
    experiment = world.experiment(VELOCITIES, FOUR, other, TWO)
    kept, whole = tmp_path / "kept", tmp_path / "whole"
    for run, keep, times in ((kept, "true", 3 + 2), (whole, "false", 3 + 3 + 2)):
        worked_out = 0
        options = ("--run", run, f"--set=steps.keep_targets={keep}")
        assert evounet("distill", "steps", experiment, *options).code == 0
        assert worked_out == times
        assert not (run / "targets").exists()
    for stage in ("four", "other", "two"):
        assert equal(weights(kept, stage), weights(whole, stage))


class Killed(BaseException):
    pass


@pytest.mark.parametrize(
    "moment",
    [3, *(pytest.param(moment, marks=pytest.mark.slow) for moment in (1, 4, 7))],
)
def test_a_chain_that_is_killed_goes_on_to_the_same_end(
    evounet: Evounet,
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: int,
) -> None:
    """After 2 steps of one stage and 3 of the next; later, while the second set is drawn."""
    ticks = 0

    @contextmanager
    def track(*_: Any) -> Iterator[Any]:
        def told(done: int, figures: dict[str, float]) -> None:
            nonlocal ticks
            ticks += 1
            if ticks == moment:
                raise Killed

        yield told

    experiment = world.experiment(VELOCITIES, FOUR)
    run, whole = tmp_path / "run", tmp_path / "whole"
    with monkeypatch.context() as patched:
        for module in (chain, steps_run):
            patched.setattr(module, "track", track)
        with pytest.raises(Killed):
            evounet("distill", "steps", experiment, "--run", run)
    kept = len(list((run / "drawn").glob("*.safetensors")))
    assert kept == (moment == 7)
    asked: list[Drawing] = []

    def draw(pipeline: Any, drawings: Sequence[Drawing], *others: Any) -> Iterator[Pictures]:
        asked.extend(drawings)
        return measures.draw(pipeline, drawings, *others)

    monkeypatch.setattr(steps_run, "draw", draw)
    for folder in (run, whole):
        answer = evounet("distill", "steps", experiment, "--run", folder)
        assert answer.code == 0, answer.err
    for stage in ("velocities", "four"):
        assert equal(weights(run, stage), weights(whole, stage))
    assert len(asked) == 2 * 6 - kept
    assert (run / "result.json").read_text() == (whole / "result.json").read_text()


def found_in(folder: Path, world: World) -> str:
    """The run folder of a search that has removed two blocks."""
    run = folder / "search"
    run.mkdir()
    (run / "experiment.toml").write_text(load_experiment(world.experiment()).to_toml())
    (run / "result.json").write_text("{}")
    unet = UNet2DConditionModel.from_pretrained(world.pipeline, subfolder="unet")
    removed = [BlockId.parse("cross_attention down.0/0"), BlockId.parse("resnet up.0/1")]
    architecture = take_inventory(unet_config(unet)).full().without(removed)
    materialize(unet, architecture).save_pretrained(run / "unet")
    return str(run)


def test_what_a_search_found_is_a_student_of_the_whole_unet(
    evounet: Evounet, world: World, tmp_path: Path
) -> None:
    found, run = found_in(tmp_path, world), tmp_path / "run"
    velocities = VELOCITIES.replace('"{pipeline}"', f'"{found}"').replace("velocities", "efficient")
    four = FOUR.replace('student = "velocities"', 'student = "efficient"')
    experiment = world.experiment(VELOCITIES, velocities, four)
    answer = evounet("distill", "steps", experiment, "--run", run)
    assert answer.code == 0, answer.err
    stage = run / "stages" / "four"
    pipeline = load_pipeline(str(stage))
    assert type(pipeline.unet) is StandaloneUNet
    stock = StableDiffusionPipeline.from_pretrained(stage, trust_remote_code=True)
    assert type(stock.unet).__module__.endswith(".standalone_unet")
    assert type(stock.unet) is not StandaloneUNet  # but the code that lies in the folder
    for name, weight in pipeline.unet.state_dict().items():
        assert torch.equal(stock.unet.state_dict()[name], weight)
    assert len(architecture_of(pipeline.unet).removed) == 2
    drawn = {each["model"]: each["unet_ms"] / each["steps"] for each in _drawn(run)}
    assert drawn["four"] == drawn["efficient"] < drawn["velocities"]
    (Path(found) / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"no weights")
    told = evounet.refused("distill", "steps", experiment, "--run", tmp_path / "other")
    assert f"{Path(found) / 'unet'}: no usable UNet" in told


def _drawn(run: Path) -> list[dict[str, Any]]:
    drawn: list[dict[str, Any]] = json.loads((run / "result.json").read_text())["drawn"]
    return drawn


@pytest.mark.slow
def test_workers_of_ray_share_a_stage(evounet: Evounet, world: World, tmp_path: Path) -> None:
    run = tmp_path / "run"
    experiment = world.experiment(VELOCITIES, FOUR)
    answer = evounet("distill", "steps", experiment, "--run", run, "--set=steps.workers=2")
    assert answer.code == 0, answer.err
    alone = tmp_path / "alone"
    assert evounet("distill", "steps", experiment, "--run", alone).code == 0
    one, other = weights(run, "velocities"), weights(alone, "velocities")
    assert max((one[name] - other[name]).abs().max().item() for name in one) < 5e-3


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ("", "steps.stages of 'steps' is empty"),
        (VELOCITIES * 2, "two stages are named 'velocities'"),
        (FOUR + VELOCITIES, "is 'velocities', which is not done before it"),
        (FOUR.replace("velocities", "four"), "is 'four', which is not done before it"),
        (
            VELOCITIES + FOUR.replace("teacher_steps = 8", "teacher_steps = 16"),
            "teacher_steps 16 is not twice training.student_steps 4",
        ),
        (
            VELOCITIES + FOUR + TWO.replace("= 4", "= 8").replace("= 2,", "= 4,", 1),
            "'four', which samples in 4 steps, not in teacher_steps 8",
        ),
        (VELOCITIES.replace("{pipeline}", "nowhere/at-all/x"), "stage 'velocities', student:"),
        (
            FOUR.replace("velocities", "{pipeline}"),
            "the student has prediction_type 'epsilon'; put a stage of kind 'v_prediction' before",
        ),
        (
            VELOCITIES + FOUR.replace('teacher = "velocities"', 'teacher = "{pipeline}"'),
            "have different noise schedules",
        ),
        (
            VELOCITIES.replace("true", "false")
            + FOUR.replace('teacher = "velocities"', 'teacher = "{pipeline}"'),
            "the teacher predicts noise, which says nothing",
        ),
        (VELOCITIES.replace("warmup_steps", "warm"), "unknown key"),
        (VELOCITIES.replace("v_prediction", "x_prediction"), "'v_prediction', 'distillation'"),
    ],
)
def test_bad_input_is_told_and_leaves_nothing(
    evounet: Evounet, world: World, tmp_path: Path, stages: str, message: str
) -> None:
    run = tmp_path / "run"
    told = evounet.refused("distill", "steps", world.experiment(stages), "--run", run)
    assert message in told
    assert not run.exists()


def test_sdxl_learns_to_draw_in_fewer_steps_and_draws_in_a_stock_pipeline(
    evounet: Evounet, world: World, tables: Path, tmp_path: Path
) -> None:
    pipeline, run = save_sdxl_pipeline(tmp_path / "sdxl"), tmp_path / "run"
    write_table(invented_table(choose_unet(pipeline).inventory, "xl"), tables)
    four = FOUR.replace("batch_size = 2", "batch_size = 2, guided_share = 0.5")
    experiment = world.experiment(VELOCITIES, four)
    text = experiment.read_text().replace(world.pipeline, pipeline).replace('"toy"', '"xl"')
    experiment.write_text(text)
    answer = evounet("distill", "steps", experiment, "--run", run)
    assert answer.code == 0, answer.err
    assert not equal(weights(run, "velocities"), weights(run, "four"))
    drawing = StableDiffusionXLPipeline.from_pretrained(
        run / "stages" / "four", add_watermarker=False
    )
    assert isinstance(drawing.scheduler, DDIMScheduler)
    assert drawing.scheduler.config.prediction_type == "v_prediction"
    drawing.set_progress_bar_config(disable=True)
    picture = drawing("a red of 1", num_inference_steps=4, output_type="pt").images
    assert torch.isfinite(picture).all()


def test_an_experiment_without_stages_is_told_before_a_run_that_is_there(
    evounet: Evounet, world: World, tmp_path: Path
) -> None:
    found = found_in(tmp_path, world)
    told = evounet.refused("distill", "steps", world.experiment(), "--run", found)
    assert "steps.stages of 'steps' is empty" in told
