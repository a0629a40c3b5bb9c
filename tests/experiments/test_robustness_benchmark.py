"""``evounet bench robustness``: its statistics by other ways, its architectures, its workers."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from in_process import Evounet
from rich.console import Console
from torch import Tensor

from experiments.benchmarks import benchmark, ranking, robustness
from experiments.benchmarks.ranking import PLAIN, ROBUST, Ranking, Size, random_removals
from experiments.shapes.diffusion import build_unet
from supernet.architecture import Architecture
from supernet.inventory import take_inventory, unet_config
from supernet.training_settings import TrainingSettings

TINY = Size(architectures=3, prompts=2, pictures=16, training_steps=1, fine_tuning_steps=1)

# Few values, so that there are ties.
pairs = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=12)


def fp64(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def tau_by_counting(x: list[float], y: list[float]) -> float:
    """Kendall's tau-b from every pair of architectures."""
    signs = [
        ((x[i] > x[j]) - (x[i] < x[j]), (y[i] > y[j]) - (y[i] < y[j]))
        for i, j in combinations(range(len(x)), 2)
    ]
    untied_x, untied_y = sum(a != 0 for a, _ in signs), sum(b != 0 for _, b in signs)
    return sum(a * b for a, b in signs) / (untied_x * untied_y) ** 0.5


@given(pairs)
def test_kendall_tau_counts_pairs(points: list[tuple[int, int]]) -> None:
    x, y = ([float(value) for value in values] for values in zip(*points, strict=True))
    if len(set(x)) > 1 and len(set(y)) > 1:
        tau = robustness.kendall_tau(fp64(*x), fp64(*y)).item()
        assert tau == pytest.approx(tau_by_counting(x, y), abs=1e-6)


@given(st.permutations(range(8)))
def test_spearman_is_by_the_differences_of_ranks(order: list[int]) -> None:
    x, y = fp64(*range(8)), fp64(*order)
    squares = sum((i - rank) ** 2 for i, rank in enumerate(order))
    expected = 1 - 6 * squares / (8 * (8**2 - 1))
    assert robustness.spearman(x.exp(), y).item() == pytest.approx(expected, abs=1e-5)


def test_the_drop_per_block_is_a_slope_through_the_origin() -> None:
    removed, clip = fp64(1, 2, 4), fp64(0.8, 0.7, 0.1)
    slope = robustness.drop_per_block(0.9, clip, removed).item()
    assert slope == pytest.approx((1 * 0.1 + 2 * 0.2 + 4 * 0.8) / (1 + 4 + 16))


def test_every_column_is_a_resample_of_its_own() -> None:
    rows = robustness.resamples(5)
    x, y = fp64(1, 2, 3, 4, 5), fp64(2, 1, 3, 5, 4)
    together = robustness.kendall_tau(x[rows], y[rows])
    for column in (0, 1, 99):
        chosen = rows[:, column]
        alone = tau_by_counting(x[chosen].tolist(), y[chosen].tolist())
        assert together[column].item() == pytest.approx(alone, abs=1e-6)


def test_the_interval_is_the_middle_95_percent() -> None:
    values = torch.cat([torch.arange(1001.0), torch.tensor([torch.nan])])
    assert robustness.interval(values) == pytest.approx((25, 975))


# --- architectures


def shapes() -> Architecture:
    return take_inventory(unet_config(build_unet())).full()


def test_architectures_lack_blocks_evenly_from_one_to_twenty() -> None:
    drawn = random_removals(shapes(), 40)
    assert all(not each.added for each in drawn)
    numbers = [len(each.removed) for each in drawn]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(1, 21))
    assert all(numbers.count(number) in (1, 2, 3) for number in range(1, 21))


def test_architectures_are_the_same_in_every_run_and_random_among_the_blocks() -> None:
    full = shapes()
    drawn = random_removals(full, 40)
    assert drawn == random_removals(full, 40)
    assert len(set(drawn)) > 35
    assert {block for each in drawn for block in each.removed} == set(full)


# --- figures


def ranking_of(inherited: Tensor, fine_tuned: Tensor, full: float = 0.95) -> Ranking:
    return Ranking(full, torch.arange(1, len(inherited) + 1).double(), inherited, fine_tuned)


SIZE = replace(TINY, architectures=6)
TRUTH = fp64(0.95, 0.94, 0.9, 0.88, 0.85, 0.8)
GOOD = ranking_of(TRUTH - 0.1, TRUTH)
BAD = ranking_of(TRUTH.flip(0) - 0.1, TRUTH + 0.01)


def figures_of(robust: Ranking, plain: Ranking) -> dict[str, benchmark.Figure]:
    made = robustness.figures({PLAIN: plain, ROBUST: robust}, SIZE)
    return {figure.name: figure for figure in made}


def test_every_promised_figure_is_there_and_both_supernets_are_drawn() -> None:
    figures = figures_of(GOOD, BAD)
    assert {name: str(figure.goal or "") for name, figure in figures.items()} == {
        "kendall_tau_robust": ">= 0.8",
        "kendall_tau_plain": "",
        "kendall_tau_gain": ">= 0",
        "spearman_robust": "",
        "spearman_plain": "",
        "kendall_tau_robust_own": "",
        "kendall_tau_plain_own": "",
        "kendall_tau_of_fine_tunings": "",
        "clip_drop_per_block_robust": "",
        "clip_drop_per_block_plain": "",
    }
    values = {name: figure.value for name, figure in figures.items()}
    assert (values["kendall_tau_robust"], values["kendall_tau_plain"]) == pytest.approx((1, -1))
    assert values["kendall_tau_gain"] == pytest.approx(2)
    assert values["spearman_plain"] == pytest.approx(-1, abs=1e-4)
    assert all(figure.spread is not None for figure in figures.values())
    left, right = robustness.picture(list(figures.values())).data
    worth = pytest.approx((TRUTH + 0.005).tolist())
    assert (list(left.x), list(left.y)) == (BAD.inherited.tolist(), worth)
    assert (list(right.x), list(right.y)) == (GOOD.inherited.tolist(), worth)


def test_both_supernets_are_held_against_the_mean_of_both_fine_tunings() -> None:
    """One of them alone follows where it began."""
    other = ranking_of(TRUTH.flip(0) - 0.1, TRUTH[0] - 9 * (TRUTH[0] - TRUTH.flip(0)))
    figures = figures_of(GOOD, other)
    assert figures["kendall_tau_robust_own"].value == pytest.approx(1)
    assert figures["kendall_tau_plain_own"].value == pytest.approx(1)
    assert figures["kendall_tau_of_fine_tunings"].value == pytest.approx(-1)
    # The differences of the second are nine times as large, so the mean is in its order.
    assert figures["kendall_tau_robust"].value == pytest.approx(-1)
    assert figures["kendall_tau_plain"].value == pytest.approx(1)


def test_the_gain_is_resampled_in_pairs() -> None:
    """Two supernets that say the same differ by nothing, however uncertain either tau is."""
    doubtful = ranking_of(fp64(0.5, 0.8, 0.6, 0.7, 0.3, 0.4), TRUTH)
    figures = figures_of(doubtful, doubtful)
    low, high = figures["kendall_tau_robust"].spread or (0, 0)
    assert high - low > 0.5
    assert figures["kendall_tau_gain"].spread == (0, 0)


def test_the_picture_is_a_page_of_its_own_and_its_points_are_in_the_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(robustness, "rank", lambda *_: {PLAIN: BAD, ROBUST: GOOD})
    page, written = tmp_path / "picture.html", tmp_path / "figures.json"
    answer = Evounet(monkeypatch, capsys)(
        "bench", "robustness", "--quick", "--picture", page, "--json", written
    )
    assert answer.code == 0, answer.err
    points = json.loads(written.read_text())["points"]
    assert points["kendall_tau_robust"]["inherited"] == GOOD.inherited.tolist()
    text = page.read_text()
    assert "CLIP after fine-tuning" in text
    assert "<script src=" not in text.split("plotly.js")[0]


@pytest.mark.parametrize("chosen", ["tables", "--all"])
def test_a_picture_of_a_benchmark_that_draws_none_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    chosen: str,
) -> None:
    evounet = Evounet(monkeypatch, capsys)
    refused = evounet.refused("bench", chosen, "--picture", tmp_path / "picture.html")
    assert "--picture" in refused
    assert "robustness" in refused


# --- measurement


def test_a_judge_answers_the_same_whatever_it_was_asked_before() -> None:
    """A training leaves nothing behind for the next one."""
    spec = ranking._spec(TINY)
    spec = replace(spec, sampling=spec.sampling.model_copy(update={"num_inference_steps": 1}))
    judge = ranking._Judge(spec, TINY.pictures)
    small = {"batch_size": 2}
    robust = ranking._trainings(TINY)[ROBUST].model_copy(update=small)
    settings = ranking._fine_tuning(TINY).model_copy(update=small)
    few, many = random_removals(judge.evaluator.supernet.full(), 2)
    weights = judge.supernet(robust)
    inherited = judge.clip(weights, few, None)
    tuned = judge.clip(weights, few, settings)
    assert tuned != inherited
    judge.clip(weights, many, settings)
    assert judge.clip(weights, few, None) == inherited
    assert judge.clip(weights, few, settings) == tuned
    again = judge.supernet(robust)
    assert all(torch.equal(again[name], value) for name, value in weights.items())


def test_both_trainings_differ_in_what_they_drop_alone() -> None:
    trainings = ranking._trainings(TINY)
    plain, robust = trainings[PLAIN], trainings[ROBUST]
    assert plain == robust.model_copy(update={"dropping": ranking._NO_DROPPING})
    assert robust.dropping == TrainingSettings.model_fields["dropping"].default


@pytest.mark.slow
def test_rankings_do_not_depend_on_the_number_of_workers() -> None:
    one, two = (ranking.rank(TINY, workers, Console(quiet=True)) for workers in (1, 2))
    for name in (PLAIN, ROBUST):
        assert one[name].full == two[name].full
        assert torch.equal(one[name].inherited, two[name].inherited)
        assert torch.equal(one[name].fine_tuned, two[name].fine_tuned)
        assert not torch.equal(one[name].inherited, one[name].fine_tuned)
