"""The benchmark of whole searches: its figures follow from what was found."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from evaluators.job import Scores
from evaluators.scorers import ClipModel
from experiments.benchmarks import searches
from experiments.benchmarks import strategies as benchmark
from experiments.benchmarks.benchmark import Figure
from experiments.comparison import Comparison, Pictures, Side
from experiments.run_folder import RunFolder
from search.strategies import STRATEGIES


def comparison(clip: float, ms: float) -> Comparison:
    """Of a base that scores 0.8 in 20 ms, on four prompts."""

    def side(clip: float, ms: float) -> Side:
        scores = Scores((clip - 0.1, clip + 0.1, clip - 0.05, clip + 0.05))
        return Side(ms, ms, 1, Pictures(torch.zeros(4, 3, 8, 8), scores))

    return Comparison(side(0.8, 20.0), side(clip, ms), (ClipModel(name="shapes"),))


def test_the_default_is_compared_with_every_other_at_every_latency(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    searched = []

    def found(name: str, ratio: float, *_: Any) -> benchmark.Found:
        searched.append((name, ratio))
        found = comparison(0.76 if name == "evolution" else 0.72, 20 * ratio)
        return benchmark.Found.of(found)

    monkeypatch.setattr(benchmark, "_search", found)
    figures = {f.name: f for f in benchmark.run(quick=False, console=Console(quiet=True))}
    assert set(searched) == {(n, r) for n in (*STRATEGIES, "paper") for r in (0.5, 0.3)}
    for percent in (50, 30):
        assert figures[f"clip_pct_at_{percent}"].value == pytest.approx(95)
        assert f"at {percent}.0% of its latency" in figures[f"clip_pct_at_{percent}"].what
        for name in ("random", "one_shot", "nsga2", "tpe", "knapsack", "paper"):
            assert figures[f"{name}_clip_pct_at_{percent}"].value == pytest.approx(90)
            ahead = figures[f"ahead_of_{name}_clip_pct_at_{percent}"]
            assert ahead.value == pytest.approx(5)
            assert ahead.spread == pytest.approx((5, 5)), "differences are paired"
            assert ahead.goal is not None
            assert ahead.goal.met(ahead.value)


def test_a_quick_one_is_the_same_on_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "_search", lambda *_: benchmark.Found.of(comparison(0.76, 10)))
    names = {figure.name for figure in benchmark.run(quick=True, console=Console(quiet=True))}
    assert names == {"clip_pct_at_50", "random_clip_pct_at_50", "ahead_of_random_clip_pct_at_50"}


class Killed(BaseException):
    pass


def test_searches_that_are_done_are_kept_and_one_that_was_killed_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    begun: list[tuple[str, bool]] = []
    kill = True

    def search(parts: Any, folder: RunFolder, *_: Any) -> Comparison:
        begun.append((folder.path.name, folder.state.exists()))
        if kill and len(begun) == 2:
            folder.state.write_text("{}")
            raise Killed
        return comparison(0.76 if "evolution" in folder.path.name else 0.72, 10)

    monkeypatch.setattr(searches, "prepare", lambda _: None)
    monkeypatch.setattr(searches, "open_pool", lambda *_: nullcontext())
    monkeypatch.setattr(searches, "search", search)

    def figures(folder: Path) -> list[Figure]:
        return benchmark.run_in(folder, quick=True, console=Console(quiet=True))

    with pytest.raises(Killed):
        figures(tmp_path / "work")
    kill = False
    begun.clear()
    again = figures(tmp_path / "work")
    assert begun == [("random-50", True)], "it goes on from its state, the other is kept"
    assert figures(tmp_path / "work") == again
    assert len(begun) == 1
    assert figures(tmp_path / "whole") == again
    # Another question is asked anew.
    other = benchmark.Size(("evolution",), (0.5,), ("seed=3",))
    monkeypatch.setattr(benchmark, "_QUICK", other)
    begun.clear()
    figures(tmp_path / "work")
    assert begun == [("evolution-50", False)]
