"""Profilers of the runtimes that evounet knows, each behind :class:`BlockProfiler`.

Importing this imports none of the runtimes; making a profiler does.
"""

from __future__ import annotations

from latency_tables.profilers.core_ml import CoreMLProfiler
from latency_tables.profilers.onnx_runtime import OnnxRuntimeProfiler
from latency_tables.profilers.torch_cpu import TorchCpuProfiler
from latency_tables.profilers.torch_cuda import TorchCudaProfiler

__all__ = ["CoreMLProfiler", "OnnxRuntimeProfiler", "TorchCpuProfiler", "TorchCudaProfiler"]
