"""Latency of whole UNets by the clock, in turns and under a profiler's conditions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from latency_tables import ModuleProfiler
from supernet.architecture import Architecture
from supernet.supernet import Supernet
from supernet.tracing import example_inputs

_WARM_UP_ROUNDS = 2


def measure_latency(
    unets: Sequence[UNet2DConditionModel],
    profiler: ModuleProfiler,
    *,
    context_length: int,
    batch: int = 2,
    repetitions: int = 30,
) -> list[float]:
    """Measured latency of whole UNets, side by side, in ms.

    The UNets take turns, so that a drift of the machine's speed meets all of them alike.

    Args:
        unets: to be compared; they are changed to the profiler's precision and device.
        profiler: runs them.
        context_length: tokens of ``encoder_hidden_states``.
        batch: pictures per pass; 2 is one picture under guidance.
        repetitions: timed passes of each, after two for warm-up.

    Returns:
        The median of each.
    """
    with profiler.session():
        runs = []
        for unet in unets:
            size = unet.config.sample_size
            height, width = (size, size) if isinstance(size, int) else size
            inputs = example_inputs(unet, batch, height, width, context_length)
            runs.append(_prepare(profiler, unet, inputs))
        timers = [lambda run=run: profiler.time_ms(run) for run in runs]
        return [median(times) for times in in_turns(timers, repetitions)]


def time_architectures(
    supernet: Supernet,
    architectures: Sequence[Architecture],
    profiler: ModuleProfiler,
    *,
    batch: int,
    context_length: int,
    rounds: int,
    on_turn: Callable[[int], None] = lambda turns: None,
) -> list[list[float]]:
    """Timings of one UNet under several architectures that take turns, in ms.

    Args:
        supernet: its UNet is changed to the profiler's precision and device.
        architectures: of it.
        profiler: runs them.
        batch: pictures per pass.
        context_length: tokens of ``encoder_hidden_states``.
        rounds: timed passes of each, after two for warm-up.
        on_turn: told the number of passes so far, those for warm-up included.

    Returns:
        The timings of each architecture.
    """
    latents = supernet.inventory.overhead
    inputs = example_inputs(supernet.unet, batch, latents.height, latents.width, context_length)
    turns = 0

    def timer(architecture: Architecture) -> Callable[[], float]:
        with supernet.running(architecture) as unet:
            run = _prepare(profiler, unet, inputs)

        def take_turn() -> float:
            nonlocal turns
            with supernet.running(architecture):
                time_ms = profiler.time_ms(run)
            turns += 1
            on_turn(turns)
            return time_ms

        return take_turn

    with profiler.session():
        return in_turns([timer(architecture) for architecture in architectures], rounds)


def whole_turns(architectures: int, rounds: int) -> int:
    """How many passes :func:`time_architectures` makes."""
    return architectures * (_WARM_UP_ROUNDS + rounds)


def in_turns(timers: Sequence[Callable[[], float]], rounds: int) -> list[list[float]]:
    """Timings of each after two rounds for warm-up, by rounds in which each is timed once."""
    turns = [[timer() for timer in timers] for _ in range(_WARM_UP_ROUNDS + rounds)]
    return [list(times) for times in zip(*turns[_WARM_UP_ROUNDS:], strict=True)]


class _Pass(nn.Module):
    """A UNet that takes tensors by their position alone, as profilers hand them over."""

    def __init__(self, unet: UNet2DConditionModel, added: Sequence[str]) -> None:
        super().__init__()
        self.unet = unet
        self.added = added

    def forward(
        self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, *added: Tensor
    ) -> Any:
        conditions = dict(zip(self.added, added, strict=True)) or None
        return self.unet(sample, timestep, encoder_hidden_states, added_cond_kwargs=conditions)


def _prepare(
    profiler: ModuleProfiler, unet: UNet2DConditionModel, inputs: Mapping[str, Any]
) -> Callable[[], object]:
    added = inputs["added_cond_kwargs"] or {}
    tensors = (inputs["sample"], inputs["timestep"], inputs["encoder_hidden_states"])
    return profiler.prepare_module(_Pass(unet, tuple(added)), (*tensors, *added.values()))
