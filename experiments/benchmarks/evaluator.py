"""How fast evaluators are: against a script that a user would write, and against the UNet alone.

Three ways to spend the same time take turns, so that a machine that is slow for a while is so for
all of them. The script calls the stock pipeline and open_clip prompt by prompt; the pool draws and
judges in batches; the bound is the passes of the UNet that the pool's pictures take, on as many
processes at once, and nothing else. All of them run the full UNet of the shapes world at the
settings of the demo, the script in fp32 as pipelines are by default.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

import open_clip
import ray
import torch
from rich.console import Console
from torch.nn import functional as F

from evaluators.evaluator import EvaluatorSpec
from evaluators.generation import SamplingChoice, latent_shape
from evaluators.job import Job
from evaluators.pipelines import load_pipeline
from evaluators.pool import EvaluatorPool
from evaluators.ray_session import ray_session
from evaluators.scorers import ClipModel
from experiments.benchmarks.benchmark import Figure, Goal
from experiments.models import SHAPES, pipeline_source, scorer_settings
from experiments.progress import track
from experiments.prompts import prompt_set
from experiments.sections import PromptsSection
from experiments.unets import choose_unet
from latency_tables import TorchCpuProfiler
from supernet.tracing import example_inputs

_SEED = 0
_SAMPLING = SamplingChoice(
    num_inference_steps=8, guidance_scale=4.0, precision="auto", batch_size=32
).start()


@dataclass(frozen=True)
class _Size:
    """How much is measured.

    Attributes:
        turns: of all three.
        scripted: pictures that the script draws in a turn.
        batches: that each evaluator draws in a turn.
    """

    turns: int
    scripted: int
    batches: int


_QUICK = _Size(turns=3, scripted=4, batches=1)
_WHOLE = _Size(turns=15, scripted=12, batches=2)


@dataclass(frozen=True)
class Turn:
    """Pictures per second of each of the three, measured one after the other."""

    script: float
    pool: float
    bound: float


def run(quick: bool, console: Console) -> list[Figure]:
    """Measure on the shapes pipeline, with one evaluator on every core."""
    size = _QUICK if quick else _WHOLE
    cores = os.cpu_count() or 1
    spec = evaluator_spec(2 * cores * size.batches * _SAMPLING.batch_size)
    threads = torch.get_num_threads()
    script = Script(spec)
    try:
        chosen = _choose_threads(script, spec.prompts.prompts[0])
        # Twice the cores: evaluators and bound are both there, and run in turns.
        with ray_session(2 * cores), EvaluatorPool(cores) as pool:
            return figures(_turns(spec, script, pool, size, console), cores, chosen)
    finally:
        torch.set_num_threads(threads)


def evaluator_spec(prompts: int) -> EvaluatorSpec:
    """The demo's evaluators, with so many prompts."""
    return EvaluatorSpec(
        pipeline=pipeline_source(SHAPES),
        scorer=scorer_settings(ClipModel(name=SHAPES)),
        prompts=prompt_set(PromptsSection(source=SHAPES, count=prompts, seed=_SEED), "validation"),
        sampling=_SAMPLING,
    )


# --- the three


class Script:
    """What a user would write: a stock pipeline and open_clip, one prompt after the other."""

    def __init__(self, spec: EvaluatorSpec) -> None:
        self.settings = spec.sampling
        self.pipeline = load_pipeline(spec.pipeline)  # a stock one
        self.pipeline.set_progress_bar_config(disable=True)
        model, _, preprocess = open_clip.create_model_and_transforms(spec.scorer.judge)
        self.model, self.preprocess = model.eval(), preprocess
        self.tokenize = open_clip.get_tokenizer(spec.scorer.judge)

    @torch.no_grad()
    def score(self, prompt: str, **noise: Any) -> float:
        """CLIP score of one new picture; ``noise`` are the pipeline's own arguments."""
        [picture] = self.pipeline(
            prompt,
            num_inference_steps=self.settings.num_inference_steps,
            guidance_scale=self.settings.guidance_scale,
            **noise,
        ).images
        image = self.model.encode_image(self.preprocess(picture)[None])
        text = self.model.encode_text(self.tokenize([prompt]))
        score: float = F.cosine_similarity(image, text).item()
        return score


class UNetAlone:
    """The passes of the UNet that pictures take, and nothing else."""

    def __init__(self, spec: EvaluatorSpec, threads: int) -> None:
        settings = spec.sampling
        pipeline = load_pipeline(spec.pipeline)
        self.unet = pipeline.unet
        _, height, width = latent_shape(pipeline)
        passed = 2 * settings.batch_size  # guidance
        tokens = pipeline.tokenizer.model_max_length
        inputs = example_inputs(self.unet, passed, height, width, tokens)
        names = ("sample", "timestep", "encoder_hidden_states")
        self.steps = settings.num_inference_steps
        self.profiler = TorchCpuProfiler(settings.precision, threads, settings.memory_format)
        self.one_pass = self.profiler.prepare_module(
            self.unet, tuple(inputs[name] for name in names)
        )

    def run(self, batches: int) -> None:
        """As many passes as so many batches of pictures take."""
        with self.profiler.session():
            for _ in range(batches * self.steps):
                self.one_pass()


# --- turns


def _choose_threads(script: Script, prompt: str) -> int:
    """Of one and all cores, what the script is faster with now: torch's default is the latter.

    Threads that wait for each other on a busy machine take many times as long as one alone, which
    would be no merit of the evaluators.
    """
    times = {}
    for threads in (1, os.cpu_count() or 1):
        torch.set_num_threads(threads)
        script.score(prompt)
        times[threads] = 1 / _per_s(1, lambda: script.score(prompt))
    chosen = min(times, key=times.__getitem__)
    torch.set_num_threads(chosen)
    return chosen


def _turns(
    spec: EvaluatorSpec, script: Script, pool: EvaluatorPool, size: _Size, console: Console
) -> list[Turn]:
    evaluators = pool.evaluators(spec)
    evaluators.load_weights(script.pipeline.unet.state_dict())
    actor: Any = ray.remote(num_cpus=1)(UNetAlone)
    alone = [actor.remote(spec, threads=1) for _ in range(pool.workers)]
    scripted, halves = spec.prompts.prompts[: size.scripted], _halves(spec)
    drawn = len(spec.prompts) // 2

    def take_turn(number: int) -> Turn:
        jobs = halves[number % 2]
        return Turn(
            script=_per_s(len(scripted), lambda: [script.score(prompt) for prompt in scripted]),
            pool=_per_s(drawn, lambda: list(evaluators.scores(jobs))),
            bound=_per_s(drawn, lambda: ray.get([a.run.remote(size.batches) for a in alone])),
        )

    turns: list[Turn] = []
    with track(console, "evaluator: turns", size.turns) as on_progress:
        take_turn(0)  # loads models
        for done in range(1, size.turns + 1):
            turns.append(take_turn(done))
            on_progress(done, {"pictures_per_s": turns[-1].pool})
    return turns


def _halves(spec: EvaluatorSpec) -> tuple[list[Job], list[Job]]:
    """Jobs of one batch each for turns to alternate between.

    An evaluator that was given the same rows again would share their first pass; here every
    picture takes all of its passes, as the bound does.
    """
    full = choose_unet(SHAPES).inventory.full()
    count, batch = len(spec.prompts), spec.sampling.batch_size
    jobs = [Job(full, range(start, start + batch)) for start in range(0, count, batch)]
    return jobs[: len(jobs) // 2], jobs[len(jobs) // 2 :]


def _per_s(pictures: int, draw: Callable[[], object]) -> float:
    start = time.perf_counter()
    draw()
    return pictures / (time.perf_counter() - start)


# --- figures


def figures(turns: Sequence[Turn], workers: int, script_threads: int) -> list[Figure]:
    """What the turns come to: medians of their ratios, with quartiles."""
    s = _SAMPLING
    on_what = (
        f"full shapes UNet, {s.num_inference_steps} steps, guidance {s.guidance_scale:g}; "
        f"{len(turns)} turns"
    )
    pool = f"{workers} evaluators of 1 thread, {s.precision}, batches of {s.batch_size}"
    script = f"stock pipeline and open_clip called per prompt, fp32, threads: {script_threads}"
    bound = "the same passes of the UNet and nothing else on as many processes"
    return [
        _figure(
            "over_stock",
            [turn.pool / turn.script for turn in turns],
            f"pictures per second, drawn and judged: {pool}, over {script}; {on_what}",
            Goal(">=", 3),
        ),
        _figure(
            "of_bound",
            [turn.pool / turn.bound for turn in turns],
            f"pictures per second, drawn and judged: {pool}, over {bound}; {on_what}",
            Goal(">=", 0.85),
        ),
        _figure("pool_pictures_per_s", [turn.pool for turn in turns], f"{pool}; {on_what}"),
        _figure("stock_pictures_per_s", [turn.script for turn in turns], f"{script}; {on_what}"),
        _figure("bound_pictures_per_s", [turn.bound for turn in turns], f"{bound}; {on_what}"),
    ]


def _figure(name: str, values: Sequence[float], what: str, goal: Goal | None = None) -> Figure:
    lower, middle, upper = quantiles(values, n=4)
    return Figure(name, middle, what, spread=(lower, upper), goal=goal)
