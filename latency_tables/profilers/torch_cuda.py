"""Profiling with PyTorch on an NVIDIA GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from latency_tables.profilers.torch_cpu import os_name
from latency_tables.profiling import Conditions, ModuleProfiler
from latency_tables.table import MemoryFormat

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
_WARM_UP_RUNS = 3  # before a CUDA graph is captured, as torch asks for


class TorchCudaProfiler(ModuleProfiler):
    """Runs blocks on the current CUDA device and times them by events.

    Every block is captured into a CUDA graph and replayed, so that a block of microseconds is not
    measured by the time that Python takes to launch its kernels; a UNet that is deployed is
    launched the same way.

    Args:
        precision: ``fp32``, ``bf16`` or ``fp16``, of weights and activations.
        memory_format: of feature maps and convolutions' weights.
        compiled: whether blocks run through ``torch.compile``.
        autocast: keep the weights in fp32 and let autocast choose each operation's precision.

    Raises:
        ValueError: for any other precision, for autocast to fp32, or where there is no CUDA
            device.
    """

    def __init__(
        self,
        precision: str = "fp16",
        memory_format: MemoryFormat = "contiguous",
        compiled: bool = False,
        autocast: bool = False,
    ) -> None:
        import torch

        if precision not in DTYPES:
            raise ValueError(f"precision {precision!r} is unknown; use {' or '.join(DTYPES)}")
        if autocast and precision == "fp32":
            raise ValueError("autocast to fp32 changes nothing; use bf16 or fp16, or no autocast")
        if not torch.cuda.is_available():
            raise ValueError(
                "torch sees no CUDA device here; profile on a machine that has one, with a CUDA "
                "build of torch, or use --device cpu"
            )
        self.precision = precision
        self.memory_format = memory_format
        self.compiled = compiled
        self.autocast = autocast

    def describe(self) -> Conditions:
        import torch

        name = torch.cuda.get_device_name()
        return Conditions(
            device=name,
            chip=name,
            os=os_name(),
            runtime="torch",
            runtime_version=torch.__version__,
            precision=f"{self.precision}-autocast" if self.autocast else self.precision,
            threads=None,
            compute_unit="cuda",
            memory_format=self.memory_format,
            compiled=self.compiled,
        )

    def prepare_module(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> Callable[[], object]:
        """One run of any module under the profiler's conditions; the module is changed to them."""
        import torch

        from latency_tables.profilers.torch_blocks import converted

        dtype = getattr(torch, DTYPES["fp32" if self.autocast else self.precision])
        module, inputs = converted(module.cuda(), inputs, dtype, self.memory_format)
        inputs = tuple(each.cuda() for each in inputs)
        run = torch.compile(module) if self.compiled else module
        return self._captured(partial(run, *inputs)).replay

    def _captured(self, run: Callable[[], object]) -> torch.cuda.CUDAGraph:
        import torch

        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP_RUNS):
                run()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run()
        return graph

    def time_ms(self, run: Callable[[], object]) -> float:
        """Between two events of the device, which the host's clock does not reach."""
        import torch

        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end))

    @contextmanager
    def session(self) -> Iterator[None]:
        import torch

        dtype = getattr(torch, DTYPES[self.precision])
        # Autocast's cache of cast weights would outlive the graph that it was filled in.
        with (
            torch.inference_mode(),
            torch.autocast("cuda", dtype, enabled=self.autocast, cache_enabled=False),
        ):
            yield
