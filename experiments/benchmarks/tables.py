"""Does the sum of a latency table predict whole UNets, and what does a look-up cost?

Parts, calibration and the UNets to be predicted are measured in one run on this machine, so that
the figures are about the method and not about the day on which a shipped table was made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from statistics import mean, median

import numpy as np
import torch
from rich.console import Console
from torchmetrics.functional import spearman_corrcoef

from evaluators.latency import TableLatency
from evaluators.whole_unets import whole_turns
from experiments.benchmarks.benchmark import Figure, Goal
from experiments.calibration import (
    WholePasses,
    calibrated,
    calibration_architectures,
    measure_whole,
    random_architecture,
)
from experiments.progress import track
from experiments.unets import ChosenUNet, choose_unet
from latency_tables import (
    LatencyTable,
    ModuleProfiler,
    TableMetadata,
    TorchCpuProfiler,
    TorchCudaProfiler,
    profile,
    read_table,
)
from latency_tables.registry import SHIPPED
from supernet.architecture import Architecture
from supernet.parts import Inventory
from supernet.precision import settled_precision

_SEED = 0
_CALIBRATION = 8
_LOOK_UPS = 2000
_LOADS = 50


@dataclass(frozen=True)
class _Size:
    """How much is measured."""

    unet: str
    architectures: int
    rounds_of_parts: int
    rounds_of_unets: int


_QUICK = _Size("shapes", architectures=30, rounds_of_parts=60, rounds_of_unets=20)
_WHOLE = _Size("sd15", architectures=30, rounds_of_parts=12, rounds_of_unets=5)


def run(quick: bool, console: Console) -> list[Figure]:
    """SD v1.5 at its real size, or (quick) the shapes UNet; on CUDA where there is one."""
    size = _QUICK if quick else _WHOLE
    unet = choose_unet(size.unet, batch=1)
    profiler = _profiler()
    table = _measure_parts(unet, profiler, size, console)
    inventory = unet.inventory
    generator = torch.Generator().manual_seed(_SEED)
    drawn = [random_architecture(inventory, generator) for _ in range(size.architectures)]
    first = calibration_architectures(inventory, _CALIBRATION)
    count = len(first) + len(drawn)
    turns = whole_turns(count, size.rounds_of_unets)
    with track(console, f"tables: timing {count} UNets", turns) as on_progress:
        passes = measure_whole(
            inventory,
            [*first, *drawn],
            profiler,
            size.rounds_of_unets,
            lambda done: on_progress(done, {}),
        )
    known = WholePasses(passes.architectures[: len(first)], passes.times_ms[: len(first)])
    to_predict = WholePasses(passes.architectures[len(first) :], passes.times_ms[len(first) :])
    predictors = _predictors(unet, table, known)
    conditions = profiler.describe()
    what = (
        f"{size.architectures} random architectures of {size.unet}, batch 1, "
        f"{conditions['precision']}, {conditions['chip']}, {conditions['threads'] or ''} threads"
    )
    return [*_accuracy_figures(predictors, to_predict, what), *_cost_figures(inventory, table)]


def _profiler() -> ModuleProfiler:
    return (
        TorchCudaProfiler("fp16")
        if torch.cuda.is_available()
        else TorchCpuProfiler(settled_precision("auto", "cpu"))
    )


def _measure_parts(
    unet: ChosenUNet, profiler: ModuleProfiler, size: _Size, console: Console
) -> LatencyTable:
    signatures = unet.inventory.all_signatures()
    warmup = 2
    turns = len(signatures) * (warmup + size.rounds_of_parts)
    with track(console, f"tables: timing {len(signatures)} parts", turns) as on_progress:
        rows = profile(
            signatures,
            profiler,
            rounds=size.rounds_of_parts,
            warmup_rounds=warmup,
            on_progress=lambda done, _: on_progress(done, {}),
        )
    metadata = TableMetadata(
        name="bench",
        method="measured",
        measured_how="in turns",
        measured_at=date.today(),
        command="evounet bench tables",
        **profiler.describe(),
    )
    return LatencyTable(metadata, rows)


# --- what is compared

Predictor = Callable[[Architecture], float]


def _predictors(unet: ChosenUNet, table: LatencyTable, known: WholePasses) -> dict[str, Predictor]:
    inventory = unet.inventory
    return {
        "": TableLatency(inventory, calibrated(unet, table, known, "evounet bench tables")),
        "plain": TableLatency(inventory, table),
        "macs_line": _macs_line(inventory, known),
        "interpolation": _interpolation(inventory, known),
    }


def _macs_line(inventory: Inventory, known: WholePasses) -> Predictor:
    """A straight line over MACs through the UNets that the calibration used."""
    macs = [inventory.macs(each) for each in known.architectures]
    slope, offset = np.polyfit(macs, known.medians_ms, 1)
    return lambda architecture: float(offset + slope * inventory.macs(architecture))


def _interpolation(inventory: Inventory, known: WholePasses) -> Predictor:
    """Piecewise linear between the smallest, the middle and the largest UNet that is known.

    Over MACs and over parameters, and the mean of both: how NVIDIA's ModelOpt estimates the
    latency of a subnet.
    """
    by_macs = sorted(
        zip(known.architectures, known.medians_ms, strict=True), key=lambda p: inventory.macs(p[0])
    )
    three = [by_macs[0], by_macs[len(by_macs) // 2], by_macs[-1]]
    latencies = [latency for _, latency in three]

    def over(measure: Callable[[Architecture], int], architecture: Architecture) -> float:
        places = [measure(known_one) for known_one, _ in three]
        order = np.argsort(places)
        return _piecewise(
            [places[i] for i in order], [latencies[i] for i in order], measure(architecture)
        )

    return lambda architecture: mean(
        over(measure, architecture) for measure in (inventory.macs, inventory.parameters)
    )


def _piecewise(places: Sequence[float], values: Sequence[float], where: float) -> float:
    """Linear between places in rising order, and beyond them by the last piece."""
    middle = places[1]
    (x0, x1), (y0, y1) = (places[:2], values[:2]) if where <= middle else (places[1:], values[1:])
    return y0 + (y1 - y0) * (where - x0) / (x1 - x0)


# --- figures


def _accuracy_figures(
    predictors: dict[str, Predictor], passes: WholePasses, what: str
) -> list[Figure]:
    goals = {"mape_pct": Goal("<=", 3), "worst_pct": Goal("<=", 8), "spearman": Goal(">=", 0.99)}
    by_whom = {
        "": "sum of the table's rows, calibrated on other architectures of the run",
        "plain": "sum of the table's rows as they are",
        "macs_line": "straight line over MACs through the calibration's architectures",
        "interpolation": "between three of them, over MACs and parameters",
    }
    figures = []
    for name, predictor in predictors.items():
        predicted = [predictor(architecture) for architecture in passes.architectures]
        accuracy = _accuracy(predicted, passes.medians_ms)
        wanted = list(goals) if name in ("", "plain") else ["mape_pct"]
        for figure in wanted:
            full = f"{name}_{figure}" if name else figure
            goal = goals[figure] if not name else None
            figures.append(Figure(full, accuracy[figure], f"{by_whom[name]}; {what}", goal=goal))
    noise = Figure("noise_pct", _noise_pct(passes), f"of one timing, about its median; {what}")
    return [*figures, noise]


def _accuracy(predicted: Sequence[float], measured: Sequence[float]) -> dict[str, float]:
    errors = [100 * abs(p - m) / m for p, m in zip(predicted, measured, strict=True)]
    rank = spearman_corrcoef(torch.tensor(predicted), torch.tensor(measured)).item()
    return {"mape_pct": mean(errors), "worst_pct": max(errors), "spearman": rank}


def _noise_pct(passes: WholePasses) -> float:
    """How far timings lie from the median of their UNet: what no predictor can foretell."""
    return mean(
        100 * abs(time_ms - middle) / middle
        for times, middle in zip(passes.times_ms, passes.medians_ms, strict=True)
        for time_ms in times
    )


def _cost_figures(inventory: Inventory, table: LatencyTable) -> list[Figure]:
    latency = TableLatency(inventory, table)
    generator = torch.Generator().manual_seed(_SEED)
    architectures = [random_architecture(inventory, generator) for _ in range(20)]

    def look_ups() -> None:
        for i in range(_LOOK_UPS):
            latency(architectures[i % len(architectures)])

    shipped = max(SHIPPED.glob("*.csv"), key=lambda path: path.stat().st_size)
    sum_s = [_seconds(look_ups) / _LOOK_UPS for _ in range(9)]
    load_s = [_seconds(lambda: read_table(shipped)) for _ in range(_LOADS)]
    blocks = len(inventory.blocks)
    return [
        Figure(
            "sum_us",
            1e6 * median(sum_s),
            f"latency of one architecture of {blocks} blocks by the table, in microseconds",
            goal=Goal("<=", 50),
        ),
        Figure(
            "load_ms",
            1000 * median(load_s),
            f"reading and checking the largest shipped table, {shipped.stem}",
            goal=Goal("<=", 50),
        ),
    ]


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start
