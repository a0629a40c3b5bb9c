"""What a training step of step distillation costs, beside the passes that it cannot do without."""

from __future__ import annotations

import copy
import time
from statistics import median

import torch
from diffusers import UNet2DConditionModel
from rich.console import Console

from distillation.step_training import StepDistillation, distill_steps
from evaluators.pipelines import load_pipeline
from experiments.benchmarks.benchmark import Figure, Goal, quartiles
from experiments.models import SHAPES, pipeline_source
from experiments.progress import OnProgress, track
from experiments.unets import BUILT_IN
from supernet.batches import Batch
from supernet.precision import settled_precision
from supernet.training_context import autocast, training_mode

_WARM_UP = 1  # step of every training that is not timed


def step_figures(timed: int, batch_size: int, console: Console) -> list[Figure]:
    """Of the shapes UNet as student and as teacher, vanilla and CFG-aware.

    Args:
        timed: training steps of each.
        batch_size: pictures of a step.
        console: for progress.
    """
    figures = []
    for prefix, share in (("", 0.0), ("guided_", 1.0)):
        with track(console, f"distill: {prefix}training steps", timed) as told:
            shares = _shares(share, batch_size, timed, told)
        times = 2 if share else 1
        figures.append(
            Figure(
                f"{prefix}step_of_ideal",
                median(shares),
                f"time of two teacher passes and of one of the student with its backward, "
                f"{times * batch_size} rows each, over that of a whole training step with a batch "
                f"of {batch_size}; {timed} in turns, {settled_precision('auto', 'cpu')}, "
                f"{torch.get_num_threads()} threads; spread: quartiles",
                quartiles(shares),
                Goal(">=", 0.9),
            )
        )
    return figures


def _shares(
    guided_share: float, batch_size: int, steps: int, on_progress: OnProgress
) -> list[float]:
    """Ideal time over a step's, for steps that are done in turns with the ideal."""
    pipeline = load_pipeline(pipeline_source(SHAPES))
    teacher, student = pipeline.unet, copy.deepcopy(pipeline.unet).requires_grad_(True)
    settings = StepDistillation(
        steps=_WARM_UP + steps, batch_size=batch_size, guided_share=guided_share
    )
    tokens, width = BUILT_IN[SHAPES], teacher.config.cross_attention_dim
    size = teacher.config.sample_size
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(batch_size, 4, size, size, generator=generator)
    prompts = torch.randn(batch_size, tokens, width, generator=generator)
    ideal = _Ideal(teacher, copy.deepcopy(student), settings, 2 if guided_share else 1)
    shares: list[float] = []
    start = time.perf_counter()

    def in_turn(done: int, _: dict[str, float]) -> None:
        nonlocal start
        took = time.perf_counter() - start
        least = ideal.seconds(latents, prompts)
        if done > _WARM_UP:
            shares.append(least / took)
            on_progress(len(shares), {})
        start = time.perf_counter()

    distill_steps(
        student,
        teacher,
        lambda step, rows: Batch(latents[list(rows)], prompts[list(rows)]),
        pipeline.scheduler,
        settings,
        prompts[:1],
        0,
        on_progress=in_turn,
    )
    return shares


class _Ideal:
    """The passes alone: no data, noise, losses, optimizer or average."""

    def __init__(
        self,
        teacher: UNet2DConditionModel,
        student: UNet2DConditionModel,
        settings: StepDistillation,
        times: int,
    ) -> None:
        self.teacher = teacher
        self.student = student
        self.settings = settings
        self.times = times

    def seconds(self, latents: torch.Tensor, prompts: torch.Tensor) -> float:
        """That they take."""
        noisy = latents.repeat(self.times, 1, 1, 1)
        context = prompts.repeat(self.times, 1, 1)
        timestep = torch.full((len(noisy),), 500)
        self.student.zero_grad(set_to_none=True)
        device = self.student.device
        with (
            training_mode(self.student, self.settings),
            autocast(self.settings.precision, device),
        ):
            start = time.perf_counter()
            with torch.no_grad():
                for _ in range(2):
                    self.teacher(noisy, timestep, context)
            answer = self.student(noisy, timestep, context).sample
            answer.float().square().mean().backward()
            return time.perf_counter() - start
