"""The presets of ``evounet distill steps``: chains, and that they run from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from in_process import Evounet

from evaluators.pipelines import load_pipeline
from experiments.experiment import load_experiment
from experiments.models import pipeline_source
from supernet.architecture import BlockId
from supernet.inventory import take_inventory, unet_config
from supernet.materialize import materialize
from supernet.standalone_unet import StandaloneUNet


def test_they_are_chains() -> None:
    paper = load_experiment(Path("steps")).steps.stages
    assert [stage.name for stage in paper] == ["full-16", "efficient-16", "efficient-8"]
    progressive = load_experiment(Path("steps-progressive")).steps.stages
    steps = [stage.training.student_steps for stage in progressive]
    assert steps == [64, 32, 16, 8]
    # As many training steps of the efficient UNet, otherwise alike: only the chain differs.
    efficient = [stage.training for stage in paper[1:]]
    rivals = [stage.training for stage in progressive]
    assert sum(each.steps for each in rivals) == sum(each.steps for each in efficient)
    alike = {each.model_dump_json(exclude={"steps", "student_steps"}) for each in rivals}
    assert alike == {each.model_dump_json(exclude={"steps", "student_steps"}) for each in efficient}


def save_demo(run: Path) -> None:
    """What a search of the demo leaves, as far as a student needs it."""
    run.mkdir(parents=True)
    (run / "experiment.toml").write_text(load_experiment(Path("demo")).to_toml())
    (run / "result.json").write_text("{}")
    unet = load_pipeline(pipeline_source("shapes")).unet
    full = take_inventory(unet_config(unet)).full()
    smaller = full.without([BlockId.parse("cross_attention down.0/0")])
    materialize(unet, smaller).save_pretrained(run / "unet")


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["steps", "steps-progressive"])
def test_they_run_on_what_the_demo_found(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    preset: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    save_demo(tmp_path / "runs" / "demo")
    stages = load_experiment(Path(preset)).steps.stages
    short = ["steps.pictures=64", "steps.guidance_scales=[4.0]", "comparison.prompts.count=2"]
    for place in range(len(stages)):
        training = f"steps.stages.{place}.training"
        short += [f"{training}.steps=1", f"{training}.batch_size=2"]
    options = [f"--set={each}" for each in short]
    answer = Evounet(monkeypatch, capsys)("distill", "steps", preset, *options)
    assert answer.code == 0, answer.err
    run = tmp_path / "runs" / preset
    last = load_pipeline(str(run / "stages" / stages[-1].name))
    assert isinstance(last.unet, StandaloneUNet)
    drawn = json.loads((run / "result.json").read_text())["drawn"]
    assert (drawn[-1]["model"], drawn[-1]["steps"]) == ("efficient-8", 8)
