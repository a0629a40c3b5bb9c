"""What robust training and its evaluations cost: time of a step, and memory.

A step of the supernet is a step of stock training with some modules left out. So with every block
on it must take as long as one, with blocks dropped less in proportion, and architectures that are
evaluated one after the other must leave no copies of the UNet behind.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median, quantiles

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from diffusers.training_utils import EMAModel
from rich.console import Console
from torch import nn

from evaluators.evaluator import Evaluator, EvaluatorSpec
from evaluators.generation import SamplingChoice
from evaluators.scorers import ClipModel
from experiments.benchmarks.benchmark import Figure, Goal
from experiments.calibration import random_architecture, random_supernet
from experiments.models import SHAPES, pipeline_source, scorer_settings
from experiments.peak_memory import with_peak_gib
from experiments.progress import OnProgress, track
from experiments.prompts import prompt_set
from experiments.sections import PromptsSection
from experiments.shapes.diffusion import build_scheduler
from experiments.unets import ChosenUNet, choose_unet
from supernet.architecture import Architecture
from supernet.batches import Batch, Batches
from supernet.block_dropping import BlockDropping
from supernet.loss import add_noise, denoising_loss, draw_noise, predict
from supernet.parts import Inventory
from supernet.precision import settled_precision
from supernet.robust_training import train
from supernet.supernet import Supernet
from supernet.tracing import example_inputs
from supernet.training_context import autocast
from supernet.training_settings import TrainingSettings

_SEED = 0
_BATCH_SIZE = 32
_WARM_UP = 2  # steps of every training that are not timed
_EVERY_BLOCK = BlockDropping(keep_prob=(1.0, 1.0))
_DROPPING = BlockDropping(keep_prob=(0.2, 1.0), per="batch")  # UNets of many sizes


@dataclass(frozen=True)
class _Size:
    """How much is measured.

    Attributes:
        unets: pairs of freshly copied ones, supernet and stock, that train in turns.
        steps: that are timed of each pair.
        evaluated: architectures that one process evaluates.
    """

    unets: int
    steps: int
    evaluated: int


_QUICK = _Size(unets=2, steps=3, evaluated=10)
_WHOLE = _Size(unets=10, steps=12, evaluated=100)


def run(quick: bool, console: Console) -> list[Figure]:
    """Measure on the shapes UNet."""
    size = _QUICK if quick else _WHOLE
    return [*_steps_figures(size, console), _evaluation_figure(size, console)]


def run_unet(unet: str, console: Console) -> list[Figure]:
    """Time and memory of one robust step of a UNet with random weights, in a fresh process.

    Raises:
        UNetSourceError: if there is no such UNet.
        ArchitectureError: if it cannot be built or analysed.
    """
    chosen = choose_unet(unet, batch=1)
    with track(console, f"train: a step of {unet}", 1) as on_progress:
        (step_s, ran), peak_gib = with_peak_gib(_one_step, chosen)
        on_progress(1, {"peak_gib": peak_gib})
    what = (
        f"one robust step of {unet}, {len(ran.removed)} of its {len(ran.blocks)} blocks dropped, "
        f"random weights, in a process of its own; batch 1, {settled_precision('auto', 'cpu')}, "
        "gradient checkpointing, Adafactor, no average of the weights"
    )
    return [
        Figure("step_peak_gib", peak_gib, f"peak resident memory; {what}", goal=Goal("<=", 20)),
        Figure("step_s", step_s, f"{what}, {torch.get_num_threads()} threads"),
    ]


# --- steps


def _random_unet(inventory: Inventory) -> UNet2DConditionModel:
    return random_supernet(inventory, torch.float32).unet.requires_grad_(True)


def _random_batches(unet: UNet2DConditionModel, inventory: Inventory) -> Batches:
    """The same random latents and prompts at every step: data take no time."""
    whole = inventory.overhead
    inputs = example_inputs(unet, whole.batch, whole.height, whole.width, whole.context_length)
    added = inputs["added_cond_kwargs"]

    def batch(step: int, rows: range) -> Batch:
        own = list(rows)
        return Batch(
            inputs["sample"][own],
            inputs["encoder_hidden_states"][own],
            added and {name: value[own] for name, value in added.items()},
        )

    return batch


class _StockTraining:
    """A loop as it is written around a stock UNet, one step at a time."""

    def __init__(
        self,
        unet: UNet2DConditionModel,
        batches: Batches,
        noise_scheduler: DDIMScheduler,
        settings: TrainingSettings,
    ) -> None:
        self.unet = unet.train()
        self.unet.set_attn_processor(AttnProcessor())  # the faster one here, and train's
        self.batches = batches
        self.noise_scheduler = noise_scheduler
        self.settings = settings
        self.generator = torch.Generator().manual_seed(_SEED)
        self.parameters = list(unet.parameters())
        self.optimizer = torch.optim.AdamW(self.parameters, lr=settings.learning_rate, fused=True)
        self.ema = EMAModel(self.parameters, settings.ema_decay)

    def step(self, step: int) -> float:
        """One step of the optimizer; returns the loss."""
        self.optimizer.zero_grad(set_to_none=True)
        with autocast("auto", torch.device("cpu")):
            batch = self.batches(step, range(self.settings.batch_size))
            noise = draw_noise(batch.latents.shape, self.noise_scheduler, self.generator)
            noisy = add_noise(batch, noise, self.noise_scheduler)
            loss = denoising_loss(predict(self.unet, noisy), noisy)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, self.settings.max_grad_norm)
        self.optimizer.step()
        self.ema.step(self.parameters)
        return loss.item()


@dataclass(frozen=True)
class StepPair:
    """A step of the supernet and one of stock, the one after the other.

    Attributes:
        architecture: what the supernet trained.
        supernet_s: seconds.
        stock_s: seconds.
    """

    architecture: Architecture
    supernet_s: float
    stock_s: float

    @property
    def time_share(self) -> float:
        """The supernet's time over stock's."""
        return self.supernet_s / self.stock_s


class _WatchedSupernet(Supernet):
    """Remembers the architecture that it ran last."""

    @contextmanager
    def running(self, architecture: Architecture) -> Iterator[UNet2DConditionModel]:
        self.ran = architecture
        with super().running(architecture) as unet:
            yield unet


def step_pairs(
    unet: UNet2DConditionModel,
    inventory: Inventory,
    dropping: BlockDropping,
    steps: int,
    seed: int,
    on_pair: Callable[[StepPair], None],
) -> None:
    """Train a supernet and a stock UNet in turns of one step; the first ones are not reported.

    Both UNets are fresh copies, so that where weights lie in memory is not always to the favour
    of the same one.
    """
    settings = TrainingSettings(
        steps=_WARM_UP + steps,
        batch_size=inventory.overhead.batch,
        schedule="constant",
        dropping=dropping,
    )
    scheduler = build_scheduler()
    batches = _random_batches(unet, inventory)
    stock = _StockTraining(copy.deepcopy(unet), batches, scheduler, settings)
    supernet = _WatchedSupernet(copy.deepcopy(unet))
    start = time.perf_counter()

    def in_turn(done: int, _: dict[str, float]) -> None:
        nonlocal start
        middle = time.perf_counter()
        stock.step(done)
        end = time.perf_counter()
        if done > _WARM_UP:
            on_pair(StepPair(supernet.ran, middle - start, end - middle))
        start = time.perf_counter()

    train(supernet, batches, scheduler, settings, seed, on_progress=in_turn)


# --- memory


def _evaluate(count: int) -> None:
    """Evaluate the full shapes UNet and random architectures, ``count`` together."""
    prompts = prompt_set(PromptsSection(source=SHAPES, count=4, seed=_SEED), "test")
    sampling = SamplingChoice(num_inference_steps=2, precision="auto", batch_size=4).start()
    judge = scorer_settings(ClipModel(name=SHAPES))
    evaluator = Evaluator(EvaluatorSpec(pipeline_source(SHAPES), judge, prompts, sampling))
    supernet, generator = evaluator.supernet, torch.Generator().manual_seed(_SEED)
    evaluator.scores(supernet.full())
    for _ in range(count - 1):
        evaluator.scores(random_architecture(supernet.inventory, generator))


def _one_step(unet: ChosenUNet) -> tuple[float, Architecture]:
    """Seconds that one robust step of a UNet takes, and what it trained."""
    supernet = _WatchedSupernet(_random_unet(unet.inventory))
    settings = TrainingSettings(
        steps=1, batch_size=1, optimizer="adafactor", ema_decay=0, gradient_checkpointing=True
    )
    batches = _random_batches(supernet.unet, unet.inventory)
    start = time.perf_counter()
    train(supernet, batches, build_scheduler(), settings, _SEED, architecture=unet.architecture)
    return time.perf_counter() - start, supernet.ran


# --- figures


def _steps_figures(size: _Size, console: Console) -> list[Figure]:
    inventory = choose_unet(SHAPES, batch=_BATCH_SIZE).inventory
    unet = _random_unet(inventory)
    with track(console, "train: full steps", size.unets * size.steps) as on_progress:
        full = _pairs(unet, inventory, size, _EVERY_BLOCK, on_progress)
    with track(console, "train: robust steps", size.unets * size.steps) as on_progress:
        robust = _pairs(unet, inventory, size, _DROPPING, on_progress)
    return step_figures(full, robust, inventory)


def _pairs(
    unet: UNet2DConditionModel,
    inventory: Inventory,
    size: _Size,
    dropping: BlockDropping,
    on_progress: OnProgress,
) -> list[StepPair]:
    pairs: list[StepPair] = []

    def on_pair(pair: StepPair) -> None:
        pairs.append(pair)
        on_progress(len(pairs), {"time_share": median(each.time_share for each in pairs)})

    for seed in range(size.unets):
        step_pairs(unet, inventory, dropping, size.steps, seed, on_pair)
    return pairs


def step_figures(
    full: Sequence[StepPair], robust: Sequence[StepPair], inventory: Inventory
) -> list[Figure]:
    """What pairs of steps come to.

    Args:
        full: with every block on.
        robust: with random blocks dropped.
        inventory: of the UNet.
    """
    ratios = [pair.time_share for pair in full]
    whole_macs = inventory.macs(inventory.full())
    macs_shares = [inventory.macs(pair.architecture) / whole_macs for pair in robust]
    time_shares = [pair.time_share for pair in robust]
    relative = [time / macs for time, macs in zip(time_shares, macs_shares, strict=True)]
    what = (
        f"shapes UNet, random weights, AdamW, {settled_precision('auto', 'cpu')}, "
        f"batch {_BATCH_SIZE}, {torch.get_num_threads()} threads"
    )
    return [
        Figure(
            "full_over_stock_step",
            median(ratios),
            "training step of the supernet with every block on over one of a plain loop around "
            f"stock diffusers, {len(full)} pairs in turns; {what}",
            spread=_quartiles(ratios),
            goal=Goal("<=", 1.02),
        ),
        Figure(
            "step_share_over_macs_share",
            median(relative),
            f"the same with {min(macs_shares):.0%} to {max(macs_shares):.0%} of the MACs on: time "
            f"over stock's, divided by that share, {len(robust)} pairs in turns; {what}",
            spread=_quartiles(relative),
            goal=Goal("<=", 1.25),
            points={"macs_share": tuple(macs_shares), "time_share": tuple(time_shares)},
        ),
    ]


def _quartiles(values: Sequence[float]) -> tuple[float, float]:
    lower, _, upper = quantiles(values, n=4)
    return lower, upper


def _evaluation_figure(size: _Size, console: Console) -> Figure:
    """Peaks of processes that evaluate one architecture and many."""
    with track(console, "train: peaks of evaluations", 2) as on_progress:
        _, one_gib = with_peak_gib(_evaluate, 1)
        on_progress(1, {"peak_gib": one_gib})
        _, many_gib = with_peak_gib(_evaluate, size.evaluated)
        on_progress(2, {"peak_gib": many_gib})
    return Figure(
        "peak_over_single",
        many_gib / one_gib,
        f"peak resident memory of a process that evaluates {size.evaluated} architectures of the "
        f"shapes UNet one after the other, {many_gib:.2f} GiB, over that of one that evaluates "
        "the full one alone",
        goal=Goal("<=", 1.02),
    )
