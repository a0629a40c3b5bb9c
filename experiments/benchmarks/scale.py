"""What does a controller of up to 1,000 evaluators cost, and how well are they used?

The code that hands out work is the real one. The evaluators are simulated, for no machine has
1,000 to be measured on. What the code takes for a piece is real time and delays the simulated
clock, and so does what Ray takes of the driver for a call, which is measured on real actors that
answer at once. Models and weights are there when the clock starts.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots
from rich.console import Console

from evaluators.dispatch import Dispatcher
from evaluators.job import Job
from evaluators.pipelines import load_pipeline
from evaluators.pool import EvaluatorPool
from evaluators.pool_events import PoolEvent
from experiments.benchmarks.benchmark import Figure, Goal
from experiments.benchmarks.simulated_evaluators import InstantEvaluator, SimulatedCrew
from experiments.models import SHAPES, pipeline_source
from experiments.progress import track
from supernet.inventory import take_inventory, unet_config

_PROMPTS = 2000
_BATCH = 16  # pictures of one evaluation
_LARGE_BATCH = 32
_EVALUATION_S = 5.0  # of one batch
_SPREAD = 0.2  # durations lie evenly within ±20 % of that
_WORKERS = (1, 10, 100, 200, 1000)
_GOAL_WORKERS = 200
_ACTORS = 4  # real ones
_SEED = 0


@dataclass(frozen=True)
class Use:
    """How some number of workers was used.

    Attributes:
        workers: how many.
        utilisation_pct: share of their time in which they evaluated, what was done twice left out.
        dispatch_ms: real time that the dispatcher took for a piece.
    """

    workers: int
    utilisation_pct: float
    dispatch_ms: float


def run(quick: bool, console: Console) -> list[Figure]:
    """Measure Ray's share on real actors, then simulate up to 1,000 of them."""
    jobs = removals_in_batches(_BATCH)
    ray_ms = measure_ray_ms(jobs[: 300 if quick else len(jobs)])
    uses = []
    with track(console, "scale: simulating", len(_WORKERS)) as on_progress:
        for done, workers in enumerate(_WORKERS, start=1):
            uses.append(simulate(jobs, workers, ray_ms))
            on_progress(done, {"utilisation": uses[-1].utilisation_pct})
    coarse = simulate(removals_in_batches(_LARGE_BATCH), _GOAL_WORKERS, ray_ms)
    return figures(uses, coarse, len(jobs), ray_ms)


def removals_in_batches(size: int) -> list[Job]:
    """The removal of each of the 38 blocks of the shapes UNet, on all prompts, batch by batch."""
    unet = load_pipeline(pipeline_source(SHAPES)).unet
    full = take_inventory(unet_config(unet)).full()
    rows = range(_PROMPTS)
    return [
        Job(full.without([block]), rows[start : start + size])
        for block in full
        for start in range(0, _PROMPTS, size)
    ]


def simulate(
    jobs: Sequence[Job],
    workers: int,
    ray_ms: float,
    clock: Callable[[], float] = time.perf_counter,
) -> Use:
    """All jobs by simulated evaluators; see :class:`SimulatedCrew`."""
    draws, full = random.Random(_SEED), max(len(job.rows) for job in jobs)
    spread = {_key(job): draws.uniform(1 - _SPREAD, 1 + _SPREAD) for job in jobs}

    def duration_s(job: Job) -> float:
        """The same on any worker, and less for a batch that is not full."""
        return _EVALUATION_S * spread[_key(job)] * len(job.rows) / full

    crew = SimulatedCrew(workers, lambda ticket: duration_s(ticket.job), ray_ms / 1000, clock)
    for _ in Dispatcher(crew, _unheard).answers("scores", jobs):
        pass
    return Use(
        workers,
        100 * sum(map(duration_s, jobs)) / (workers * crew.now()),
        1000 * crew.dispatch_s / len(jobs),
    )


def _key(job: Job) -> tuple[str, int]:
    return job.architecture.id, job.rows.start


def measure_ray_ms(jobs: Sequence[Job]) -> float:
    """CPU time of this process for a job on real actors, in ms, the dispatcher's with it.

    In a cluster the actors work elsewhere. Here they would be measured with it, by the clock.
    """
    spec: Any = SimpleNamespace(
        prompts=range(_PROMPTS), sampling=SimpleNamespace(batch_size=_BATCH)
    )
    with EvaluatorPool(_ACTORS, factory=InstantEvaluator) as pool:
        evaluators = pool.evaluators(spec)
        evaluators.load_weights({})
        for _ in evaluators.scores(jobs[: 8 * _ACTORS]):
            pass  # until all actors have started
        start = time.process_time()
        for _ in evaluators.scores(jobs):
            pass
        return 1000 * (time.process_time() - start) / len(jobs)


def _unheard(event: PoolEvent) -> None:
    """Of slow workers, which are none here but for the draws of their durations."""


# --- figures


def figures(uses: Sequence[Use], coarse: Use, pieces: int, ray_ms: float) -> list[Figure]:
    """Utilisation at 200 workers, and the overhead at as many as were simulated.

    Args:
        uses: by the number of workers.
        coarse: 200 workers that draw larger batches in the same time.
        pieces: evaluations.
        ray_ms: of the driver for one of them.
    """
    what = (
        f"38 actions × {_PROMPTS} prompts in {pieces} evaluations of {_BATCH} pictures, "
        f"{_EVALUATION_S:g} s ± {100 * _SPREAD:g} % each (simulated, seed {_SEED})"
    )
    by_workers = {use.workers: use for use in uses}
    most = uses[-1]
    points = {
        "workers": tuple(float(use.workers) for use in uses),
        "utilisation_pct": tuple(use.utilisation_pct for use in uses),
        "overhead_ms": tuple(ray_ms + use.dispatch_ms for use in uses),
    }
    return [
        Figure(
            f"utilisation_pct_{_GOAL_WORKERS}",
            by_workers[_GOAL_WORKERS].utilisation_pct,
            f"% of the time of {_GOAL_WORKERS} workers in which they evaluate; {what}",
            goal=Goal(">=", 95),
            points=points,
        ),
        *(
            Figure(
                f"utilisation_pct_{use.workers}",
                use.utilisation_pct,
                f"the same with {use.workers}: {pieces / use.workers:.3g} evaluations for each",
            )
            for use in uses
            if use.workers != _GOAL_WORKERS
        ),
        Figure(
            f"utilisation_pct_{coarse.workers}_batch_{_LARGE_BATCH}",
            coarse.utilisation_pct,
            f"the same with {coarse.workers} and half as many evaluations, of {_LARGE_BATCH} "
            "pictures: the last ones weigh more",
        ),
        Figure(
            "overhead_ms",
            ray_ms + most.dispatch_ms,
            f"of the controller for an evaluation: dispatch_ms and ray_ms; {what}",
            goal=Goal("<=", 2),
        ),
        Figure(
            "dispatch_ms",
            most.dispatch_ms,
            f"real time of the dispatcher for an evaluation, {most.workers} simulated workers",
        ),
        Figure(
            "ray_ms",
            ray_ms,
            f"CPU time of the driver's process for a call and its answer, {_ACTORS} real actors "
            "that answer at once; the dispatcher's share is in it once more",
        ),
    ]


def picture(measured: Sequence[Figure]) -> go.Figure:
    """Utilisation and overhead against the number of workers."""
    [points] = [figure.points for figure in measured if figure.points]
    goals = {"utilisation_pct": 95, "overhead_ms": 2}
    titles = {"utilisation_pct": "utilisation, %", "overhead_ms": "overhead per evaluation, ms"}
    page = make_subplots(cols=len(goals))
    for column, (name, goal) in enumerate(goals.items(), start=1):
        line = go.Scatter(x=points["workers"], y=points[name], mode="lines+markers")
        page.add_trace(line, row=1, col=column)
        page.add_hline(goal, line_dash="dash", annotation_text=f"goal {goal}", row=1, col=column)
        page.update_yaxes(title=titles[name], rangemode="tozero", col=column)
    page.update_xaxes(title="workers", type="log")
    page.update_layout(template="plotly_white", showlegend=False)
    return page
