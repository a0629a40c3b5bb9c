"""Profiling with PyTorch on the CPU of this machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from latency_tables.profiling import BlockProfiler, Conditions
from latency_tables.signature import BlockSignature

_DTYPES = {"fp32": "float32", "bf16": "bfloat16"}


class TorchCpuProfiler(BlockProfiler):
    """Runs blocks in eager PyTorch on the CPU, in inference mode.

    Args:
        precision: of weights and activations: ``fp32`` or ``bf16``.
        threads: CPU threads while profiling; torch's own number by default.

    Raises:
        ValueError: for any other precision.
    """

    def __init__(self, precision: str = "fp32", threads: int | None = None) -> None:
        if precision not in _DTYPES:
            raise ValueError(f"precision {precision!r} is unknown; use {' or '.join(_DTYPES)}")
        self.precision = precision
        self.threads = threads

    def describe(self) -> Conditions:
        import torch

        return Conditions(
            device=f"{os.cpu_count()}-core {platform.machine()} computer",
            chip=_chip(),
            os=f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
            runtime="torch",
            runtime_version=torch.__version__,
            precision=self.precision,
            threads=self.threads or torch.get_num_threads(),
        )

    def prepare(self, signature: BlockSignature) -> Callable[[], object]:
        import torch

        from latency_tables.torch_blocks import build_block

        module, inputs = build_block(signature, getattr(torch, _DTYPES[self.precision]))
        return partial(module, *inputs)

    @contextmanager
    def session(self) -> Iterator[None]:
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(self.threads or before)
        try:
            with torch.inference_mode():
                yield
        finally:
            torch.set_num_threads(before)


def _chip() -> str:
    """The processor's name as the system states it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
