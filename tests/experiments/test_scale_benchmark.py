"""``evounet bench scale``: its simulation by what can be said without it, and its figures."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from evaluators.job import Job
from experiments.benchmarks import scale
from experiments.benchmarks.scale import Use

PIECES = 240


def still() -> float:
    """A clock without time, on which this machine is never busy."""
    return 0.0


def architecture(number: int) -> Any:
    return SimpleNamespace(id=str(number))


@pytest.fixture
def jobs() -> list[Job]:
    return [Job(architecture(number), range(16)) for number in range(PIECES)]


def test_one_worker_is_always_busy(jobs: list[Job]) -> None:
    assert 99.5 < scale.simulate(jobs, 1, 0.5, still).utilisation_pct <= 100


def test_workers_without_work_count_as_idle(jobs: list[Job]) -> None:
    """Two rounds of 160 workers for 240 evaluations: a quarter of the time is lost."""
    assert 60 < scale.simulate(jobs, 160, 0.5, still).utilisation_pct < 78


def test_a_driver_that_is_too_slow_shows(jobs: list[Job]) -> None:
    """100 ms for each of 240 evaluations of 5 s keep 50 workers busy at most."""
    assert scale.simulate(jobs, 100, 100, still).utilisation_pct < 55


def test_figures_and_picture_tell_the_same() -> None:
    uses = [Use(1, 100.0, 0.1), Use(200, 97.0, 0.2), Use(1000, 85.0, 0.3)]
    figures = scale.figures(uses, Use(200, 94.0, 0.2), PIECES, ray_ms=0.5)
    by_name = {figure.name: figure for figure in figures}
    assert by_name["utilisation_pct_200"].value == 97.0
    assert by_name["utilisation_pct_1000"].value == 85.0
    assert by_name["overhead_ms"].value == pytest.approx(0.8)
    left, right = scale.picture(figures).data
    assert list(left.y) == [100.0, 97.0, 85.0]
    assert list(right.y) == pytest.approx([0.6, 0.7, 0.8])


@pytest.mark.slow
def test_the_benchmark_runs() -> None:
    figures = {figure.name: figure for figure in scale.run(True, Console(quiet=True))}
    assert {"utilisation_pct_200", "overhead_ms"} <= figures.keys()
    assert figures["ray_ms"].value > 0
