"""``evounet run``: the whole paper as one run, going on, and what it says before it begins."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from in_process import Evounet

from evaluators.pipelines import load_pipeline
from experiments.benchmarks.searches import QUICK_SEARCH
from experiments.experiment import Experiment, load_experiment
from experiments.run_log import RunLog
from experiments.whole.dry_run import look_ahead
from experiments.whole.folder import WholeFolder
from experiments.whole.run import identity
from experiments.whole.stages import WholeRun, stages_of
from experiments.whole.timing import Factors, Times

TINY = (
    *QUICK_SEARCH,
    "evaluation.sampling.batch_size=4",
    "training.final.batch_size=4",
    "decoder.pairs.count=8",
    "decoder.pairs.shard_size=4",
    "decoder.pairs.sampling.num_inference_steps=4",
    "decoder.pairs.sampling.batch_size=4",
    "decoder.training.steps=3",
    "decoder.training.batch_size=4",
    "steps.pictures=64",
    "comparison.sampling.num_inference_steps=2",
    "comparison.sampling.batch_size=4",
    "whole.base_steps=3",
    "whole.timed=2",
    "workers.count=1",
)
STAGE = (
    '{{name = "two", kind = "distillation", teacher = "base", student = "{student}", '
    "teacher_steps = 4, training = {{ student_steps = 2, steps = {steps}, batch_size = 4, "
    "warmup_steps = 0 }}}}"
)

KILLS = 50


def settings(*more: str, student: str = "base", steps: int = 1) -> list[str]:
    """A tiny run of the shapes world, with one stage of steps."""
    stage = f"steps.stages=[{STAGE.format(student=student, steps=steps)}]"
    return [f"--set={each}" for each in (*TINY, stage, *more)]


@pytest.fixture
def evounet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Evounet:
    return Evounet(monkeypatch, capsys)


def test_what_comes_out_is_a_pipeline_and_what_is_done_stays(
    evounet: Evounet, tmp_path: Path
) -> None:
    run, stages = tmp_path / "run", 'whole.stages=["steps"]'
    answer = evounet("run", "shapes_full", "--run", run, *settings(stages))
    assert answer.code == 0, answer.err
    assert "steps: begins" in answer.out
    result = json.loads((run / "result.json").read_text())
    assert (result["steps_base"], result["steps_final"]) == (3, 2)
    assert result["steps_factor"] == 1.5
    assert result["unet_parameters_final"] == result["unet_parameters_base"]
    assert result["wall_speedup"] == result["picture_ms_base"] / result["picture_ms_final"]
    pipeline = load_pipeline(str(run / "pipeline"))
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    assert "data:image/png" in (run / "report.html").read_text()

    again = evounet("run", "shapes_full", "--run", run, *settings(stages))
    assert "steps: done already" in again.out
    pictures = ("clip_base", "clip_final", "fid_final", "caption_accuracy_final")
    repeated = json.loads((run / "result.json").read_text())
    assert [repeated[name] for name in pictures] == [result[name] for name in pictures]

    longer = evounet("run", "shapes_full", "--run", run, *settings(stages, steps=2))
    assert "steps: its settings or inputs have changed" in longer.out
    changed = load_pipeline(str(run / "pipeline")).unet.state_dict()
    assert any(
        not torch.equal(weight, changed[name])
        for name, weight in pipeline.unet.state_dict().items()
    )
    assert "call 'evounet run' again" in evounet.refused("resume", run)


def test_a_stage_follows_from_its_settings_and_from_what_is_before_it(tmp_path: Path) -> None:
    def identities(*overrides: str) -> dict[str, str]:
        experiment = load_experiment(Path("shapes_full"), overrides)
        run = WholeRun(experiment, WholeFolder(tmp_path), RunLog(None, tmp_path / "log"))
        return {stage.name: identity(run, stage) for stage in stages_of(experiment)}

    def changed(*overrides: str) -> set[str]:
        other = identities(*overrides)
        return {name for name, own in identities().items() if other[name] != own}

    assert changed("name='other'", "workers.count=7", "whole.timed=9") == set()
    assert changed("search.rounds=3") == {"search", "steps"}
    assert changed("decoder.sizes.ratio=0.25") == {"decoder"}
    assert changed("steps.pictures=128") == {"steps"}
    assert changed("seed=1") == {"search", "decoder", "steps"}
    with_supernet = identities('whole.stages=["supernet","search","decoder","steps"]')
    assert with_supernet["search"] != identities()["search"]
    assert with_supernet["decoder"] == identities()["decoder"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ('whole.stages=["search","polish"]', "whole.stages.1"),
        ('whole.stages=["search","search"]', "named twice"),
        ("whole.stages=[]", "name a stage at least"),
        ("whole.timed=1", "whole.timed"),
    ],
)
def test_bad_settings_are_told_in_a_line(
    evounet: Evounet, tmp_path: Path, wrong: str, message: str
) -> None:
    run = tmp_path / "run"
    assert message in evounet.refused("run", "shapes_full", "--run", run, f"--set={wrong}")
    assert not run.exists()


def test_steps_cannot_build_on_a_search_that_is_left_out(evounet: Evounet, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = settings('whole.stages=["steps"]', student="search")
    told = evounet.refused("run", "shapes_full", "--run", run, *options)
    assert "'two' builds on 'search', which whole.stages leaves out" in told
    assert not run.exists()


def test_other_runs_are_not_written_over(evounet: Evounet, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    options = settings('whole.stages=["steps"]')
    for overwrite in ((), ("--overwrite",)):
        told = evounet.refused("run", "shapes_full", "--run", other, *options, *overwrite)
        assert "is no run folder" in told
    assert (other / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("preset", ["shapes_full", "sd15_iphone14pro"])
def test_a_dry_run_sizes_everything_and_writes_nothing(
    evounet: Evounet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preset: str
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    before = set(Path().rglob("runs/*"))
    answer = evounet("run", preset, "--dry-run", "--pass-ms", 50, "--run", tmp_path / "run")
    assert answer.code == 0, answer.err
    assert "as given" in answer.out
    for said in ("search", "decoder", "steps: efficient-8", "steps: comparison", "model.pipeline"):
        assert said in answer.out
    if preset == "sd15_iphone14pro":
        assert "sized by the built-in sd15" in answer.out
        assert "not on this machine" in answer.out
    assert not (tmp_path / "run").exists()
    assert set(Path().rglob("runs/*")) == before


def test_a_dry_run_sizes_the_training_of_the_base_too() -> None:
    """A training step is 16 guided pictures, with a backward pass of two forward ones."""
    stages = 'whole.stages=["base","search"]'
    experiment = load_experiment(Path("shapes_full"), (stages, "base.unet.steps=100"))
    assert isinstance(experiment, Experiment)
    outlook = look_ahead(experiment)
    base = outlook.stages[0]
    assert (base.stage, base.passes) == ("base", 100 * 16 * 3)
    assert "100 training steps of 32; 7,100 of the models beside the UNet" in base.what
    assert "model.pipeline" not in {need.field for need in outlook.needs}


def test_factors_multiply_to_the_whole_but_for_what_is_not_a_step() -> None:
    """The paper's own row: 7.4, 6.25 and 3.2 come to about 43."""
    base = Times(text_encoder_ms=8, unet_ms=1700, steps=50, decoder_ms=369)
    final = Times(text_encoder_ms=8, unet_ms=230, steps=8, decoder_ms=116)
    assert base.picture_ms == pytest.approx(85_377)
    factors = Factors.between(base, final)
    assert factors.whole == pytest.approx(43.5, abs=0.1)
    assert factors.unet * factors.steps == pytest.approx(46.2, abs=0.1)
    assert factors.decoder == pytest.approx(3.18, abs=0.01)


@pytest.mark.slow
def test_killed_fifty_times_it_ends_as_it_would_have(tmp_path: Path) -> None:
    """At random moments, in as many runs as it takes; one that is not killed any more ends."""
    options = settings(student="search")
    assert _ended(tmp_path / "whole", options, None)
    moments = random.Random(KILLS)
    kills, runs = 0, 0
    while kills < KILLS:
        runs += 1
        killed = tmp_path / f"killed-{runs}"
        while not _ended(killed, options, moments.uniform(2, 45) if kills < KILLS else None):
            kills += 1
        assert _outcome(killed) == _outcome(tmp_path / "whole")


def _ended(run: Path, options: list[str], seconds: float | None) -> bool:
    """Whether a run came to its end before it was killed."""
    command = [sys.executable, "-m", "experiments.cli", "run", "shapes_full", "--run", str(run)]
    process = subprocess.Popen([*command, *options], start_new_session=True)
    try:
        assert process.wait(timeout=seconds) == 0
        return True
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(1)
        return False


def _outcome(run: Path) -> dict[str, object]:
    """What is not on the clock, and the weights of the pipeline."""
    result = json.loads((run / "result.json").read_text())
    weights = (run / "pipeline").rglob("*.safetensors")
    return {
        **{name: result[name] for name in ("clip_final", "clip_base", "fid_base", "fid_final")},
        **{each.parent.name: hashlib.sha256(each.read_bytes()).digest() for each in weights},
    }


def test_presets_are_whole_runs() -> None:
    for preset in ("shapes_full", "sd15_iphone14pro"):
        experiment = load_experiment(Path(preset))
        assert isinstance(experiment, Experiment)
        assert {stage.name for stage in stages_of(experiment)} >= {"search", "decoder", "steps"}
