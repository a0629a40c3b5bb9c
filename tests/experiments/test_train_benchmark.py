"""``evounet bench train``: its arithmetic on invented timings, its trainings, its processes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from timeit import timeit

import pytest
import torch
from in_process import Evounet
from rich.console import Console

from experiments.benchmarks import train
from experiments.benchmarks.benchmark import Figure
from experiments.benchmarks.train import StepPair, step_figures, step_pairs
from experiments.peak_memory import with_peak_gib
from experiments.unets import choose_unet
from supernet.parts import Inventory

MIB = 2**20


@pytest.fixture
def inventory(unet: str) -> Inventory:
    return choose_unet(unet, batch=2).inventory


def by_name(figures: list[Figure]) -> dict[str, Figure]:
    return {figure.name: figure for figure in figures}


# --- figures


def test_a_full_step_is_compared_with_stock_pair_by_pair(inventory: Inventory) -> None:
    """A machine that is slow for a while is so for both steps of a pair."""
    full = inventory.full()
    seconds = [(1.0, 1.0), (9.9, 9.0), (1.2, 1.0)]
    pairs = [StepPair(full, *each) for each in seconds]
    figure = by_name(step_figures(pairs, pairs, inventory))["full_over_stock_step"]
    assert figure.value == pytest.approx(1.1)
    assert figure.spread == pytest.approx((1.0, 1.2))
    assert figure.goal is not None
    assert not figure.goal.met(figure.value)


@pytest.mark.parametrize("slower", [1.0, 1.5])
def test_time_that_falls_with_the_macs_has_a_share_of_one(
    inventory: Inventory, slower: float
) -> None:
    full = inventory.full()
    blocks = list(full)
    architectures = [full.without(blocks[:count]) for count in (0, 3, 6, 9)]
    shares = [inventory.macs(each) / inventory.macs(full) for each in architectures]
    robust = [
        StepPair(each, slower * share * 2.0, 2.0)
        for each, share in zip(architectures, shares, strict=True)
    ]
    figures = by_name(step_figures([StepPair(full, 1.0, 1.0)] * 2, robust, inventory))
    figure = figures["step_share_over_macs_share"]
    assert figure.value == pytest.approx(slower)
    assert figure.goal is not None
    assert figure.goal.met(figure.value) == (slower == 1)
    assert figure.points is not None
    assert figure.points["macs_share"] == pytest.approx(shares)
    assert figure.points["time_share"] == pytest.approx([slower * share for share in shares])


def test_every_promised_figure_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def invented(
        unet: object,
        inventory: Inventory,
        dropping: object,
        steps: int,
        seed: int,
        on_pair: Callable[[StepPair], None],
    ) -> None:
        for _ in range(steps):
            on_pair(StepPair(inventory.full(), 1.0, 1.0))

    peaks = {1: 0.8, train._QUICK.evaluated: 0.88}
    monkeypatch.setattr(train, "step_pairs", invented)
    monkeypatch.setattr(train, "with_peak_gib", lambda _, count: (None, peaks[count]))
    figures = train.run(True, Console(quiet=True))
    assert {figure.name: (figure.value, str(figure.goal)) for figure in figures} == {
        "full_over_stock_step": (1, "<= 1.02"),
        "step_share_over_macs_share": (1, "<= 1.25"),
        "peak_over_single": (pytest.approx(1.1), "<= 1.02"),
    }


# --- trainings


def test_pairs_tell_what_the_supernet_trained_and_leave_the_unet_alone(
    inventory: Inventory,
) -> None:
    unet = train._random_unet(inventory)
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    full: list[StepPair] = []
    step_pairs(unet, inventory, train._EVERY_BLOCK, 2, 0, full.append)
    robust: list[StepPair] = []
    step_pairs(unet, inventory, train._DROPPING, 3, 0, robust.append)
    assert [pair.architecture for pair in full] == [inventory.full()] * 2
    assert len(robust) == 3
    assert all(pair.architecture.removed for pair in robust)
    assert all(pair.supernet_s > 0 and pair.stock_s > 0 for pair in full + robust)
    assert all(torch.equal(value, before[name]) for name, value in unet.state_dict().items())


def test_one_step_of_any_unet(
    monkeypatch: pytest.MonkeyPatch, evounet: Evounet, unet: str, tmp_path: Path
) -> None:
    monkeypatch.setattr(train, "with_peak_gib", lambda work, *given: (work(*given), 20.5))
    written = tmp_path / "figures.json"
    answer = evounet("bench", "train", "--unet", unet, "--json", written)
    assert answer.code == 0, answer.err
    value = json.loads(written.read_text())
    assert value["goals"] == {"step_peak_gib": {"goal": "<= 20", "met": False}}
    assert set(value["figures"]) == {"step_peak_gib", "step_s"}
    assert value["figures"]["step_s"] > 0


# --- the option


@pytest.mark.parametrize("chosen", ["tables", "--all"])
def test_a_unet_is_refused_where_none_is_asked_for(evounet: Evounet, chosen: str) -> None:
    refused = evounet.refused("bench", chosen, "--unet", "sd15")
    assert "--unet" in refused
    assert "train" in refused


def test_an_unknown_unet_is_refused(evounet: Evounet, tmp_path: Path) -> None:
    written = tmp_path / "figures.json"
    assert "'sd16'" in evounet.refused("bench", "train", "--unet", "sd16", "--json", written)
    assert not written.exists()


def test_one_step_cannot_be_quick(evounet: Evounet) -> None:
    assert "--quick" in evounet.refused("bench", "train", "--unet", "sd15", "--quick")


# --- processes


def peak_gib(mebibytes: int) -> float:
    """Of a process that holds so many, by a function that imports nothing."""
    seconds, peak = with_peak_gib(timeit, f"b'x' * {mebibytes * MIB}", number=1)
    assert seconds > 0
    return peak


def test_the_peak_is_that_of_the_work_alone() -> None:
    """Neither what this process holds counts, nor what an earlier one held."""
    most = peak_gib(256)
    own = b"x" * (256 * MIB)
    least = peak_gib(1)
    assert len(own) == 256 * MIB
    assert most - least == pytest.approx(0.25, abs=0.03)
