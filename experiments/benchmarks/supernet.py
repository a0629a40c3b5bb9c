"""Is the supernet the stock UNet, are standalone UNets the supernet, and what does it cost?"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from statistics import median, quantiles

import torch
from diffusers import UNet2DConditionModel
from rich.console import Console
from torch import Tensor

from experiments.benchmarks.benchmark import Figure, Goal
from experiments.calibration import random_architecture
from experiments.progress import track
from experiments.shapes.diffusion import build_unet
from experiments.shapes.tokenizer import CONTEXT_LENGTH
from supernet.architecture import Architecture
from supernet.inventory import GUIDED_BATCH
from supernet.materialize import materialize
from supernet.supernet import Supernet

_SEED = 0
_WARM_UP = 3
_PAIRS_OF_PASSES = 20  # timed with one pair of UNets


@dataclass(frozen=True)
class _Size:
    """How much is measured: random architectures, and pairs of freshly copied UNets to time."""

    architectures: int
    pairs_of_unets: int


_QUICK = _Size(architectures=8, pairs_of_unets=10)
_WHOLE = _Size(architectures=60, pairs_of_unets=20)


def run(quick: bool, console: Console) -> list[Figure]:
    """Measure on the shapes UNet with random weights, in fp32."""
    size = _QUICK if quick else _WHOLE
    torch.manual_seed(_SEED)
    supernet = Supernet(build_unet().eval())
    full = full_max_abs_diff(supernet)

    differences: list[float] = []
    with track(console, "supernet: architectures", size.architectures) as on_progress:
        generator = torch.Generator().manual_seed(_SEED)
        for _ in range(size.architectures):
            architecture = random_architecture(supernet.inventory, generator)
            differences.append(standalone_max_abs_diff(supernet, architecture))
            on_progress(len(differences), {"max_abs_diff": _largest(differences)})

    ratios: list[float] = []
    with track(console, "supernet: passes", size.pairs_of_unets * _PAIRS_OF_PASSES) as on_progress:
        for _ in range(size.pairs_of_unets):
            for ratio in _full_over_stock(supernet.unet):
                ratios.append(ratio)
                on_progress(len(ratios), {"full_over_stock": median(ratios)})

    lower, _, upper = quantiles(ratios, n=4)
    on_what = f"shapes UNet, random weights, fp32, batch {GUIDED_BATCH}"
    return [
        Figure(
            "full_max_abs_diff",
            full,
            f"supernet with every block on against stock, output and gradients; {on_what}",
            goal=Goal("<=", 0),
        ),
        Figure(
            "standalone_max_abs_diff",
            _largest(differences),
            f"standalone UNets of {size.architectures} random architectures (blocks removed, kept "
            f"or doubled) against the supernet; {on_what}",
            goal=Goal("<=", 1e-5),
        ),
        Figure(
            "full_over_stock",
            median(ratios),
            f"forward pass of the supernet with every block on over one of stock, {len(ratios)} "
            f"pairs in turns; {on_what}, {torch.get_num_threads()} threads",
            spread=(lower, upper),
            goal=Goal("<=", 1.02),
        ),
    ]


def full_max_abs_diff(supernet: Supernet) -> float:
    """Largest difference to a stock UNet of the same weights, over output and all gradients."""
    stock = copy.deepcopy(supernet.unet)
    with supernet.running(supernet.full()) as unet:
        ours = _output_and_gradients(unet)
    theirs = _output_and_gradients(stock)
    return _largest(
        (one - other).abs().max().item() for one, other in zip(ours, theirs, strict=True)
    )


def standalone_max_abs_diff(supernet: Supernet, architecture: Architecture) -> float:
    """Largest difference of a standalone UNet's output to the supernet's."""
    standalone = materialize(supernet.unet, architecture)
    inputs = _inputs(supernet.unet)
    with torch.inference_mode(), supernet.running(architecture) as unet:
        difference: Tensor = unet(*inputs).sample - standalone(*inputs).sample
    return difference.abs().max().item()


def _largest(differences: Iterable[float]) -> float:
    """As ``max``, but not a number if one of them is none: such a difference meets no goal."""
    return torch.tensor(list(differences)).max().item()


def _full_over_stock(unet: UNet2DConditionModel) -> Iterator[float]:
    """Time of a supernet's pass over that of a stock one, for pairs of passes.

    Both UNets are fresh copies, so that where weights lie in memory is not always to the favour
    of the same one; they take turns in going first.
    """
    stock, supernet = copy.deepcopy(unet), Supernet(copy.deepcopy(unet))
    full = supernet.full()
    inputs = _inputs(unet)

    def stock_pass() -> None:
        stock(*inputs)

    def supernet_pass() -> None:
        with supernet.running(full) as running:
            running(*inputs)

    for _ in range(_WARM_UP):
        _seconds(stock_pass)
        _seconds(supernet_pass)
    for i in range(_PAIRS_OF_PASSES):
        if i % 2:
            ours, theirs = _seconds(supernet_pass), _seconds(stock_pass)
        else:
            theirs, ours = _seconds(stock_pass), _seconds(supernet_pass)
        yield ours / theirs


@torch.inference_mode()
def _seconds(forward_pass: Callable[[], None]) -> float:
    start = time.perf_counter()
    forward_pass()
    return time.perf_counter() - start


def _inputs(unet: UNet2DConditionModel) -> tuple[Tensor, Tensor, Tensor]:
    """Sample ``(2, 4, 16, 16)``, timestep ``()`` and prompt ``(2, 24, 96)``."""
    generator = torch.Generator().manual_seed(_SEED)
    config = unet.config
    shape = (GUIDED_BATCH, config.in_channels, config.sample_size, config.sample_size)
    prompt = (GUIDED_BATCH, CONTEXT_LENGTH, config.cross_attention_dim)
    return (
        torch.randn(shape, generator=generator),
        torch.tensor(500),
        torch.randn(prompt, generator=generator),
    )


def _output_and_gradients(unet: UNet2DConditionModel) -> list[Tensor]:
    unet.zero_grad()
    output: Tensor = unet(*_inputs(unet)).sample
    output.square().mean().backward()
    gradients = [weight.grad for weight in unet.parameters() if weight.grad is not None]
    unet.zero_grad()
    return [output.detach(), *gradients]
