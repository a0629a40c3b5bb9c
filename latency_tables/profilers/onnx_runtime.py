"""Profiling with ONNX Runtime on the CPU of this machine."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from latency_tables.profilers.torch_cpu import chip_name, os_name
from latency_tables.profiling import BlockProfiler, Conditions
from latency_tables.signature import BlockSignature


class OnnxRuntimeProfiler(BlockProfiler):
    """Exports every block to ONNX and runs it with the CPU execution provider, in fp32.

    Args:
        precision: ``fp32``, the only one.
        threads: of one block (intra-op); the number of CPU cores by default.

    Raises:
        ValueError: for any other precision, or if onnxscript or onnxruntime is not installed.
    """

    def __init__(self, precision: str = "fp32", threads: int | None = None) -> None:
        if precision != "fp32":
            raise ValueError(f"precision {precision!r} is unknown to the ONNX profiler; use fp32")
        self.precision = precision
        self.threads = threads or os.cpu_count() or 1
        try:
            import onnxruntime
            import onnxscript  # noqa: F401  (the exporter asks for it, late and less clearly)
        except ImportError as error:
            raise ValueError(
                f"{error}; profiling with ONNX Runtime needs: pip install 'evounet[onnx]'"
            ) from error
        self.onnxruntime = onnxruntime

    def describe(self) -> Conditions:
        return Conditions(
            device=f"{os.cpu_count()}-core {platform.machine()} computer",
            chip=chip_name(),
            os=os_name(),
            runtime="onnxruntime",
            runtime_version=self.onnxruntime.__version__,
            precision=self.precision,
            threads=self.threads,
            compute_unit="cpu",
            memory_format="contiguous",
            compiled=False,
        )

    def prepare(self, signature: BlockSignature) -> Callable[[], object]:
        import torch

        from latency_tables.profilers.torch_blocks import build_block

        module, inputs = build_block(signature)
        options = self.onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "block.onnx"
            torch.onnx.export(module, inputs, path, dynamo=True, verbose=False)
            session = self.onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        names = [each.name for each in session.get_inputs()]
        feeds = dict(zip(names, (each.numpy() for each in inputs), strict=True))
        return partial(session.run, None, feeds)
