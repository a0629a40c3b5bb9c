"""Architectures as two supernets rank them, and as they rank once each was trained for itself."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from statistics import mean
from typing import Any

import ray
import torch
from ray.util import ActorPool
from ray.util.queue import Queue
from rich.console import Console
from torch import Tensor

from evaluators.evaluator import Evaluator, EvaluatorSpec
from evaluators.generation import SamplingChoice
from evaluators.pipelines import load_pipeline
from evaluators.ray_session import ray_session
from evaluators.scorers import ClipModel
from experiments.data.shapes import ShapesData
from experiments.models import SHAPES, pipeline_source, scorer_settings
from experiments.progress import OnProgress, track
from experiments.prompts import prompt_set
from experiments.sections import PromptsSection
from experiments.shapes.diffusion import CAPTION_DROPOUT
from supernet.architecture import Architecture
from supernet.block_dropping import BlockDropping
from supernet.inventory import take_inventory, unet_config
from supernet.robust_training import train
from supernet.supernet import Supernet
from supernet.training_settings import TrainingSettings

Weights = Mapping[str, Tensor]

PLAIN, ROBUST = "plain", "robust"
_SEED = 20  # of architectures, prompts, noise and trainings; no preset uses it
_MOST_REMOVED = 0.53  # of all blocks: 20 of the 38
_NO_DROPPING = BlockDropping(keep_prob=(1.0, 1.0))  # of a plain training


@dataclass(frozen=True)
class Size:
    """How much is trained and measured.

    Attributes:
        architectures: that are ranked.
        prompts: of the test split, which all of them draw.
        pictures: to train on.
        training_steps: of either supernet.
        fine_tuning_steps: of every architecture, from either supernet.
    """

    architectures: int
    prompts: int
    pictures: int
    training_steps: int
    fine_tuning_steps: int


@dataclass(frozen=True)
class Ranking:
    """What one supernet says of architectures, and what came of them.

    Attributes:
        full: mean CLIP score with every block on.
        removed: how many blocks each architecture lacks, ``(n,)``.
        inherited: mean CLIP scores with the supernet's weights, ``(n,)``.
        fine_tuned: the same after each architecture's own training from there, ``(n,)``.
    """

    full: float
    removed: Tensor
    inherited: Tensor
    fine_tuned: Tensor


def _trainings(size: Size) -> dict[str, TrainingSettings]:
    """Both trainings of a supernet; they differ in what they drop alone."""
    robust = TrainingSettings(
        steps=size.training_steps,
        batch_size=32,
        learning_rate=6e-4,
        warmup_steps=size.training_steps // 10,
        ema_decay=0.98,
    )
    return {PLAIN: robust.model_copy(update={"dropping": _NO_DROPPING}), ROBUST: robust}


def _fine_tuning(size: Size) -> TrainingSettings:
    """As the demo's training after the search (``presets/demo.toml``), only shorter."""
    return TrainingSettings(
        steps=size.fine_tuning_steps,
        batch_size=16,
        learning_rate=2e-3,
        warmup_steps=size.fine_tuning_steps // 10,
        adam_beta2=0.95,
        ema_decay=0.9,
        distillation=1.0,
        dropping=_NO_DROPPING,
    )


def _spec(size: Size) -> EvaluatorSpec:
    return EvaluatorSpec(
        pipeline=pipeline_source(SHAPES),
        scorer=scorer_settings(ClipModel(name=SHAPES)),
        prompts=prompt_set(PromptsSection(source=SHAPES, count=size.prompts, seed=_SEED), "test"),
        sampling=SamplingChoice(
            num_inference_steps=8, guidance_scale=4.0, precision="auto", batch_size=32
        ).start(),
    )


def rank(size: Size, workers: int, console: Console) -> dict[str, Ranking]:
    """Train both supernets, then score with either what the same architectures draw.

    The ``workers`` have one thread each, so that answers do not depend on their number.
    """
    spec = _spec(size)
    full = take_inventory(unet_config(load_pipeline(spec.pipeline).unet)).full()
    architectures = random_removals(full, size.architectures)
    with _judges(spec, size.pictures, workers) as judges:
        weights = _supernets(judges, _trainings(size), console)
        asked = [full, *architectures]
        inherited = _clip(judges, weights, asked, None, "inherited weights", console)
        settings = _fine_tuning(size)
        fine_tuned = _clip(judges, weights, architectures, settings, "fine-tuning", console)
    removed = torch.tensor([len(each.removed) for each in architectures], dtype=torch.float64)
    return {
        name: Ranking(inherited[name][0].item(), removed, inherited[name][1:], fine_tuned[name])
        for name in weights
    }


def random_removals(full: Architecture, count: int) -> list[Architecture]:
    """``count`` architectures with random blocks removed: from one to half of them, evenly."""
    generator = torch.Generator().manual_seed(_SEED)
    blocks = list(full)
    numbers = torch.linspace(1, _MOST_REMOVED * len(blocks), count).round().int().tolist()
    return [
        full.without(blocks[i] for i in torch.randperm(len(blocks), generator=generator)[:number])
        for number in numbers
    ]


class _Judge:
    """What runs in a Ray actor, on one thread: it trains, and scores architectures.

    Every training has the same pictures and noise, and may have the base UNet as its teacher.
    """

    def __init__(self, spec: EvaluatorSpec, pictures: int) -> None:
        torch.set_num_threads(1)
        self.evaluator = Evaluator(spec)
        pipeline = load_pipeline(spec.pipeline)  # the evaluator's has rounded weights
        self.teacher = copy.deepcopy(pipeline.unet)
        self.trained = Supernet(pipeline.unet)
        self.scheduler = pipeline.scheduler
        self.data = ShapesData(pipeline, pictures, _SEED)

    def supernet(
        self, settings: TrainingSettings, on_progress: OnProgress | None = None
    ) -> Weights:
        """Weights of a supernet that is trained from the base UNet."""
        unet = self.trained.unet
        unet.load_state_dict(self.teacher.state_dict())
        self._train(settings, self.trained.full(), on_progress)
        return {name: value.clone() for name, value in unet.state_dict().items()}

    def clip(
        self, weights: Weights, architecture: Architecture, fine_tuning: TrainingSettings | None
    ) -> float:
        """Mean CLIP score of an architecture with these weights, or after training from them."""
        if fine_tuning is not None:
            self.trained.unet.load_state_dict(weights)
            self._train(fine_tuning, architecture)
            weights = self.trained.unet.state_dict()
        self.evaluator.load_weights(weights)
        return mean(self.evaluator.scores(architecture).first)

    def _train(
        self,
        settings: TrainingSettings,
        architecture: Architecture,
        on_progress: OnProgress | None = None,
    ) -> None:
        self.trained.unet.requires_grad_(True)
        train(
            self.trained,
            self.data.batches(settings.batch_size, _SEED, CAPTION_DROPOUT),
            self.scheduler,
            settings,
            _SEED,
            architecture=architecture,
            teacher=self.teacher,
            on_progress=on_progress,
        )
        self.trained.unet.requires_grad_(False)


@contextmanager
def _judges(spec: EvaluatorSpec, pictures: int, workers: int) -> Iterator[list[Any]]:
    with ray_session(workers):
        actor: Any = ray.remote(num_cpus=1)(_Judge)
        judges = [actor.remote(spec, pictures) for _ in range(workers)]
        try:
            yield judges
        finally:
            for judge in judges:
                ray.kill(judge)


def _supernets(
    judges: Sequence[Any], trainings: Mapping[str, TrainingSettings], console: Console
) -> dict[str, Any]:
    """Ray's references to the weights of each supernet, trained side by side."""
    steps = Queue(actor_options={"num_cpus": 0})
    weights = {
        name: judge.supernet.remote(settings, lambda done, _: steps.put(done))
        for (name, settings), judge in zip(trainings.items(), cycle(judges), strict=False)
    }
    waiting = list(weights.values())
    total = sum(settings.steps for settings in trainings.values())
    with track(console, "robustness: training supernets", total) as on_progress:
        while waiting:
            _, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=1)
            on_progress(steps.size(), {})
    steps.shutdown()
    return weights


def _clip(
    judges: Sequence[Any],
    weights: Mapping[str, Any],
    architectures: Sequence[Architecture],
    fine_tuning: TrainingSettings | None,
    doing: str,
    console: Console,
) -> dict[str, Tensor]:
    """CLIP of all architectures with the weights of each supernet, ``(n,)`` in their order."""
    jobs = [(name, architecture) for name in weights for architecture in architectures]
    scores: dict[str, list[float]] = {name: [] for name in weights}
    answers = ActorPool(judges).map(
        lambda judge, job: judge.clip.remote(weights[job[0]], job[1], fine_tuning), jobs
    )
    with track(console, f"robustness: {doing}", len(jobs)) as on_progress:
        for done, ((name, _), score) in enumerate(zip(jobs, answers, strict=True), start=1):
            scores[name].append(score)
            on_progress(done, {"clip": score})
    return {name: torch.tensor(each, dtype=torch.float64) for name, each in scores.items()}
