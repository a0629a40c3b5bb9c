"""``evounet bench distill``: what it compares, its intervals, and a small run of the whole."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from in_process import Evounet

from evaluators.job import Scores
from experiments.benchmarks import distill
from experiments.benchmarks.benchmark import Figure
from experiments.comparison import Pictures
from experiments.steps import run as steps_run
from experiments.unets import choose_unet
from experiments.whole.published import REMOVED


def pictures(scores: torch.Tensor) -> Pictures:
    return Pictures(torch.zeros(len(scores), 3, 1, 1), Scores(tuple(scores.tolist())))


def test_the_interval_of_a_ratio_is_that_of_resampled_captions() -> None:
    generator = torch.Generator().manual_seed(0)
    base = 0.9 + 0.05 * torch.randn(200, generator=generator, dtype=torch.float64)
    own = 0.97 * base + 0.02 * torch.randn(200, generator=generator, dtype=torch.float64)
    figure = distill._clip_ratio("ratio", pictures(own), pictures(base), "")
    rows = torch.randint(200, (4000, 200), generator=generator)
    resampled = own[rows].mean(dim=1) / base[rows].mean(dim=1)
    low, high = resampled.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    assert figure.value == pytest.approx((own.mean() / base.mean()).item())
    assert figure.spread == pytest.approx((low, high), abs=5e-4)


def test_the_whole_benchmark_has_the_paper_s_chain_and_its_rivals() -> None:
    stages = distill._experiment(distill._WHOLE, "efficient").steps.stages
    by_name = {stage.name: stage for stage in stages}
    student = by_name["student-p0.1"]
    assert student.kind == "distillation"
    assert (student.teacher, student.student, student.teacher_steps) == (
        "full-16",
        "efficient-16",
        16,
    )
    longer = by_name["student-longer"]
    assert (longer.teacher, longer.student) == ("full-16", "student-p0.9")
    direct = by_name["efficient-16"].training.steps + student.training.steps
    progressive = [each for name, each in by_name.items() if name.startswith("progressive")]
    assert [each.training.student_steps for each in progressive] == [64, 32, 16, 8]
    assert sum(each.training.steps for each in progressive) == direct
    assert {each.training.guided_share for name, each in by_name.items() if "student" in name} == {
        0.0,
        0.1,
        0.3,
        0.5,
        0.9,
        1.0,
    }
    known = choose_unet("shapes").inventory.full()
    assert all(known[block] == 1 for block in REMOVED)


def test_its_picture_has_a_curve_for_every_model() -> None:
    points = {"guidance_scale": (2.0, 4.0), "clip": (0.8, 0.9), "fid": (0.2, 0.1)}
    curves = [Figure(f"clip_{name}", 0.9, "", points=points) for name in ("teacher_50", "cfg_8")]
    page = distill.picture([Figure("step_of_ideal", 0.9, ""), *curves])
    assert [trace.name for trace in page.data] == ["teacher_50", "cfg_8"]
    assert list(page.data[0].x) == [0.8, 0.9]


@pytest.mark.slow
def test_a_small_run_has_every_figure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    size = replace(distill._QUICK, drawn=4, timed_batch=4)
    monkeypatch.setattr(distill, "_QUICK", size)
    file = tmp_path / "distill.json"
    work = tmp_path / "work"
    evounet = Evounet(monkeypatch, capsys)
    command = ("bench", "distill", "--quick", "--json", file, "--work", work)
    answer = evounet(*command)
    assert answer.code == 0, answer.err
    result = json.loads(file.read_text())
    goals = {name: goal["goal"] for name, goal in result["goals"].items()}
    assert goals == {
        "clip_ratio_8_to_50": ">= 1",
        "fid_ratio_8_to_50": "<= 1.05",
        "least_clip_over_undistilled": ">= 1",
        "cfg_over_vanilla_clip": ">= 1",
        "vanilla_over_cfg_fid": "<= 1",
        "step_of_ideal": ">= 0.9",
        "guided_step_of_ideal": ">= 0.9",
    }
    figures = result["figures"]
    assert "undistilled_clip_ratio_8_to_50" in figures
    ratio = figures["clip_mixed_10pct_8"] / figures["clip_teacher_50"]
    assert figures["clip_ratio_8_to_50"] == pytest.approx(ratio)
    assert 0.2 < figures["step_of_ideal"] < 1.2

    # Called again it neither trains nor draws, and comes to the same.
    def draw(*_: object) -> None:
        raise AssertionError("is drawn already")

    monkeypatch.setattr(steps_run, "draw", draw)
    again = evounet(*command)
    assert again.code == 0, again.err
    assert again.out.count("done already") == len(distill._experiment(size, "e").steps.stages)
    second = json.loads(file.read_text())
    assert second["environment"]["sittings"] == 2
    timed = [name for name in figures if "step_of_ideal" in name]
    for name in figures.keys() - timed:
        assert second["figures"][name] == figures[name]
