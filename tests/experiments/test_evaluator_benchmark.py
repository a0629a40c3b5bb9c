"""``evounet bench evaluator``: its arithmetic on invented turns, and that all three do one work."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from diffusers import UNet2DConditionModel
from in_process import Evounet

from evaluators.evaluator import Evaluator, EvaluatorSpec
from experiments.benchmarks import evaluator as benchmark
from experiments.benchmarks.evaluator import Script, Turn, UNetAlone, evaluator_spec, figures

LATENTS = (4, 16, 16)


@pytest.fixture(scope="module")
def spec() -> EvaluatorSpec:
    """The benchmark's own, with three prompts, two steps and batches of 3."""
    given = evaluator_spec(prompts=3)
    update = {"num_inference_steps": 2, "batch_size": 3}
    return replace(given, sampling=given.sampling.model_copy(update=update))


def test_the_three_are_compared_turn_by_turn() -> None:
    """A machine that is slow for a while is so for all of them."""
    turns = [Turn(2, 8, 10), Turn(0.2, 0.8, 1), Turn(1, 4.5, 5), Turn(4, 12, 20), Turn(3, 12, 15)]
    found = {figure.name: figure for figure in figures(turns, workers=2, script_threads=2)}
    assert found["over_stock"].value == pytest.approx(4)
    assert found["of_bound"].value == pytest.approx(0.8)
    assert found["pool_pictures_per_s"].value == 8
    assert found["stock_pictures_per_s"].value == 2
    assert found["bound_pictures_per_s"].value == 10
    assert found["over_stock"].spread == pytest.approx((3.5, 4.25))
    goals = {name: str(figure.goal) for name, figure in found.items() if figure.goal}
    assert goals == {"over_stock": ">= 3", "of_bound": ">= 0.85"}
    assert found["over_stock"].goal.met(found["over_stock"].value)
    assert not found["of_bound"].goal.met(found["of_bound"].value)


def test_the_script_gives_the_scores_of_an_evaluator(spec: EvaluatorSpec) -> None:
    """Up to the 8 bits of its pictures."""
    exact = replace(spec, sampling=spec.sampling.model_copy(update={"precision": "fp32"}))
    evaluator = Evaluator(exact)
    [expected] = evaluator.scores(evaluator.supernet.full(), range(1)).first
    latents = spec.prompts.noise(range(1), LATENTS)
    found = Script(exact).score(spec.prompts.prompts[0], latents=latents)
    assert found == pytest.approx(expected, abs=0.003)


def test_the_bound_passes_the_unet_as_an_evaluator_does(spec: EvaluatorSpec) -> None:
    alone, evaluator = UNetAlone(spec, torch.get_num_threads()), Evaluator(spec)
    seen: dict[str, list[object]] = {"alone": [], "evaluator": []}

    def watch(name: str, unet: UNet2DConditionModel) -> None:
        unet.conv_out.register_forward_pre_hook(
            lambda _, given: seen[name].append((given[0].shape, given[0].dtype))
        )

    watch("alone", alone.unet)
    watch("evaluator", evaluator.pipeline.unet)
    alone.run(batches=1)
    evaluator.scores(evaluator.supernet.full())
    assert seen["alone"] == seen["evaluator"]
    assert len(seen["alone"]) == spec.sampling.num_inference_steps


@pytest.mark.parametrize(("seconds", "expected"), [((3.0, 2.0), 8), ((3.0, 40.0), 1)])
def test_the_script_runs_on_the_threads_that_suit_it(
    monkeypatch: pytest.MonkeyPatch, seconds: tuple[float, float], expected: int
) -> None:
    speeds = iter(1 / each for each in seconds)
    monkeypatch.setattr(benchmark.os, "cpu_count", lambda: 8)
    monkeypatch.setattr(benchmark, "_per_s", lambda *_: next(speeds))
    before = torch.get_num_threads()
    try:
        assert benchmark._choose_threads(Mock(), "a red ring") == expected
        assert torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
def test_a_small_run(monkeypatch: pytest.MonkeyPatch, evounet: Evounet, tmp_path: Path) -> None:
    small = benchmark._SAMPLING.model_copy(update={"num_inference_steps": 1, "batch_size": 2})
    monkeypatch.setattr(benchmark, "_SAMPLING", small)
    monkeypatch.setattr(benchmark, "_QUICK", benchmark._Size(turns=2, scripted=1, batches=1))
    threads = torch.get_num_threads()
    answer = evounet("bench", "evaluator", "--quick", "--json", tmp_path / "figures.json")
    assert answer.code == 0, answer.err
    value = json.loads((tmp_path / "figures.json").read_text())
    assert set(value["goals"]) == {"over_stock", "of_bound"}
    assert all(figure > 0 for figure in value["figures"].values())
    assert torch.get_num_threads() == threads
