"""Profiling with PyTorch on the CPU of this machine."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from latency_tables.profiling import Conditions, ModuleProfiler
from latency_tables.table import MemoryFormat

if TYPE_CHECKING:
    from torch import Tensor, nn

DTYPES = {"fp32": "float32", "bf16": "bfloat16"}


class TorchCpuProfiler(ModuleProfiler):
    """Runs blocks in PyTorch on the CPU, in inference mode.

    Args:
        precision: of weights and activations: ``fp32`` or ``bf16``.
        threads: CPU threads while profiling; torch's own number by default.
        memory_format: of feature maps and convolutions' weights.
        compiled: whether blocks run through ``torch.compile``.

    Raises:
        ValueError: for any other precision.
    """

    def __init__(
        self,
        precision: str = "fp32",
        threads: int | None = None,
        memory_format: MemoryFormat = "contiguous",
        compiled: bool = False,
    ) -> None:
        if precision not in DTYPES:
            raise ValueError(f"precision {precision!r} is unknown; use {' or '.join(DTYPES)}")
        self.precision = precision
        self.threads = threads
        self.memory_format = memory_format
        self.compiled = compiled

    def describe(self) -> Conditions:
        import torch

        return Conditions(
            device=f"{os.cpu_count()}-core {platform.machine()} computer",
            chip=chip_name(),
            os=os_name(),
            runtime="torch",
            runtime_version=torch.__version__,
            precision=self.precision,
            threads=self.threads or torch.get_num_threads(),
            compute_unit="cpu",
            memory_format=self.memory_format,
            compiled=self.compiled,
        )

    def prepare_module(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> Callable[[], object]:
        """One run of any module under the profiler's conditions; the module is changed to them."""
        import torch

        from latency_tables.profilers.torch_blocks import converted

        dtype = getattr(torch, DTYPES[self.precision])
        module, inputs = converted(module, inputs, dtype, self.memory_format)
        return partial(torch.compile(module) if self.compiled else module, *inputs)

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


def os_name() -> str:
    """Operating system with the two numbers of its version that matter: ``Linux 6.18``."""
    return f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}"


def chip_name() -> str:
    """The processor's name as the system states it."""
    if sys.platform == "darwin":
        brand = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(brand, capture_output=True, text=True, check=True).stdout.strip()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
