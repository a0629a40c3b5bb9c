"""From parts to whole UNets: the overhead of a pass, and a factor on the sum of its parts.

In a UNet a part does not run quite as it does by itself: between other parts, after their memory
traffic, called by the UNet's Python. A few whole passes tell how much that is on a device.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean, median

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch.nn import Module

from evaluators.whole_unets import time_architectures, whole_turns
from experiments.profiling import Profiled, TableTarget
from experiments.progress import track
from experiments.unets import ChosenUNet
from latency_tables import (
    BlockProfiler,
    BlockSignature,
    Calibration,
    LatencyRow,
    LatencyTable,
    ModuleProfiler,
    TableError,
    write_table,
)
from supernet.architecture import Architecture
from supernet.parts import Inventory
from supernet.supernet import Supernet
from supernet.tracing import meta_unet

FloatArray = NDArray[np.float64]

_SEED = 1
_LEAST_MS = 1e-5  # a row is above 0


@dataclass(frozen=True)
class WholePasses:
    """One UNet under several architectures, as measured.

    Attributes:
        architectures: of the UNet.
        times_ms: the timings of each.
    """

    architectures: tuple[Architecture, ...]
    times_ms: tuple[tuple[float, ...], ...]

    @property
    def medians_ms(self) -> tuple[float, ...]:
        return tuple(median(times) for times in self.times_ms)


def random_architecture(inventory: Inventory, generator: torch.Generator) -> Architecture:
    """Blocks removed, kept or doubled; how many of them is drawn, too.

    With a share drawn uniformly from [0, 1], every block runs as often as two coins of that share
    fall (once at most where it changes its channels), so that all sizes between no block and two
    of each are as likely.
    """
    share = torch.rand((), generator=generator)
    coins = torch.rand(len(inventory.blocks), 2, generator=generator) < share
    return inventory.full().with_multiplicities(
        {
            block.id: int(tossed[0]) if block.changes_shape else int(tossed.sum())
            for block, tossed in zip(inventory.blocks, coins, strict=True)
        }
    )


def calibration_architectures(inventory: Inventory, count: int) -> list[Architecture]:
    """The smallest, the full one, and random ones between no block and two of each."""
    generator = torch.Generator().manual_seed(_SEED)
    drawn = [random_architecture(inventory, generator) for _ in range(count - 2)]
    return [inventory.smallest(), inventory.full(), *drawn]


def random_supernet(inventory: Inventory, dtype: torch.dtype) -> Supernet:
    """A UNet with random weights, made in its precision so that a big one fits."""
    # Module's own cast: that of diffusers' models warns.
    meta = Module.to(meta_unet(inventory.config), dtype=dtype)
    unet = meta.to_empty(device="cpu")
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        for weight in unet.parameters():
            weight.normal_(0, 0.02)
    return Supernet(unet.requires_grad_(False))


def measure_whole(
    inventory: Inventory,
    architectures: Sequence[Architecture],
    profiler: ModuleProfiler,
    rounds: int,
    on_turn: Callable[[int], None],
) -> WholePasses:
    """Time whole passes of a UNet with random weights under several architectures."""
    overhead = inventory.overhead
    dtype = torch.bfloat16 if profiler.describe()["precision"] == "bf16" else torch.float32
    times = time_architectures(
        random_supernet(inventory, dtype),
        architectures,
        profiler,
        batch=overhead.batch,
        context_length=overhead.context_length,
        rounds=rounds,
        on_turn=on_turn,
    )
    return WholePasses(tuple(architectures), tuple(tuple(each) for each in times))


@dataclass(frozen=True)
class WholeModel:
    """What is calibrated, as a table knows it.

    Attributes:
        name: as the user gave it.
        base: digest of its configuration.
        overhead: signature of what a whole pass takes beyond its parts.
    """

    name: str
    base: str
    overhead: BlockSignature


def calibrated(
    unet: ChosenUNet, table: LatencyTable, passes: WholePasses, command: str
) -> LatencyTable:
    """A table with the overhead and the factor that whole passes of a UNet ask for.

    Args:
        unet: whose passes they are.
        table: with rows for all of its parts.
        passes: under two architectures or more.
        command: what was run.

    Raises:
        TableError: if larger architectures took no longer than smaller ones.
    """
    inventory = unet.inventory
    whole = WholeModel(unet.name, inventory.config.digest, inventory.overhead)
    sums = [
        table.latency_ms(part.signature for part in inventory.parts(architecture))
        for architecture in passes.architectures
    ]
    return fitted(whole, table, sums, passes.times_ms, command)


def fitted(
    whole: WholeModel,
    table: LatencyTable,
    sums: Sequence[float],
    times_ms: Sequence[Sequence[float]],
    command: str,
) -> LatencyTable:
    """A table with the overhead and the factor that bring sums of rows closest to whole passes.

    Both fit ``latency = overhead + factor * sum`` to the least squares of the relative errors;
    where the sum is so large already that this asks for an overhead below zero, there is none.

    Args:
        whole: what was timed.
        table: that gets them.
        sums: of the rows of two architectures or more, in ms.
        times_ms: timings of each.
        command: what was run.

    Raises:
        TableError: if larger architectures took no longer than smaller ones.
    """
    measured = [median(times) for times in times_ms]
    overhead_ms, factor = _fit(np.array(sums), np.array(measured))
    if factor <= 0:
        raise TableError(
            f"whole passes of '{whole.name}' did not take longer with more blocks, so the machine "
            "was too busy to tell; close other programs and calibrate again with more --rounds"
        )
    errors = [
        abs(overhead_ms + factor * part - real) / real
        for part, real in zip(sums, measured, strict=True)
    ]
    calibration = Calibration(
        unet=whole.name,
        base=whole.base,
        batch=whole.overhead.batch,
        height=whole.overhead.height,
        width=whole.overhead.width,
        factor=round(factor, 4),
        architectures=len(measured),
        mape_pct=round(100 * mean(errors), 2),
        command=command,
    )
    row = LatencyRow(round(overhead_ms, 5), 0.0, len(times_ms[0]))  # a fit has no spread
    return table.calibrated(calibration, LatencyTable(table.metadata, {whole.overhead: row}))


def _fit(sums: FloatArray, measured: FloatArray) -> tuple[float, float]:
    """Overhead in ms and factor that bring sums closest to what was measured, relative to it."""
    ones = np.ones_like(measured)
    both = np.stack([1 / measured, sums / measured], axis=1)
    (overhead_ms, factor), *_ = np.linalg.lstsq(both, ones)
    if overhead_ms >= _LEAST_MS:
        return float(overhead_ms), float(factor)
    relative = sums / measured
    wanted = 1 - _LEAST_MS / measured
    return _LEAST_MS, float(relative @ wanted / (relative @ relative))


def calibrate(
    unet: ChosenUNet,
    target: TableTarget,
    profiler: BlockProfiler,
    *,
    architectures: int,
    rounds: int,
    console: Console,
) -> Calibration:
    """Measure whole passes of a UNet and write what they tell into its table.

    Raises:
        TableError: if there is no such table, it lacks rows of the UNet, was not taken under the
            profiler's conditions, or is of a runtime that runs no whole UNets.
    """
    table, module_profiler = check_calibration(unet, target, profiler)
    command = (
        f"evounet tables calibrate {unet.arguments} --table={shlex.quote(target.name)} "
        f"--architectures={architectures} --rounds={rounds}"
    )
    chosen = calibration_architectures(unet.inventory, architectures)
    turns = whole_turns(architectures, rounds)
    with track(console, f"timing {architectures} UNets", turns) as on_progress:
        passes = measure_whole(
            unet.inventory, chosen, module_profiler, rounds, lambda done: on_progress(done, {})
        )
    after = calibrated(unet, table, passes, command)
    write_table(after, target.folder)
    return after.metadata.calibrations[-1]


def check_calibration(
    chosen: Profiled, target: TableTarget, profiler: BlockProfiler
) -> tuple[LatencyTable, ModuleProfiler]:
    """The table that is there, and a profiler that times whole models as it was measured.

    Raises:
        TableError: if there is no such table, it lacks rows, was not taken under the profiler's
            conditions, or is of a runtime that runs no whole models.
    """
    table = target.existing
    if table is None:
        raise TableError(
            f"there is no latency table '{target.name}' yet; measure its rows first with: "
            f"evounet profile {chosen.arguments} --table {target.name}"
        )
    if not isinstance(profiler, ModuleProfiler):
        raise TableError(
            f"table '{target.name}' is of runtime {table.metadata.runtime}, with which evounet "
            "runs blocks and no whole models; it is summed as it is"
        )
    missing = table.missing(chosen.signatures)
    if missing:
        table.latency_ms(missing)  # raises, and names them all
    table.check_conditions(table.metadata.model_copy(update=dict(profiler.describe())))
    return table, profiler
