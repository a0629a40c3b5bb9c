"""Which profiler a command means: a device, a precision and what else there is to choose."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path

from latency_tables import (
    BlockProfiler,
    Conditions,
    CoreMLProfiler,
    LatencyTable,
    OnnxRuntimeProfiler,
    TableError,
    TorchCpuProfiler,
    TorchCudaProfiler,
)
from latency_tables.table import MemoryFormat

# What can be chosen for each device, besides the precision.
_CHOICES = {
    "cpu": ("threads", "memory_format", "compiled"),
    "cuda": ("memory_format", "compiled", "autocast"),
    "onnxruntime": ("threads",),
    "coreml": ("compute_unit", "packages"),
}
DEVICES = tuple(_CHOICES)
_PRECISIONS = {"cpu": "fp32", "cuda": "fp16", "onnxruntime": "fp32", "coreml": "fp16"}
_AUTOCAST = "-autocast"  # behind the precision in a table's metadata


@dataclass(frozen=True)
class ProfilerChoice:
    """What a user asked for; None leaves it to the table that is extended, or to the default.

    Attributes:
        device: one of :data:`DEVICES`.
        precision: ``fp32``, ``bf16`` or ``fp16``, as far as the device knows it.
        threads: of a CPU.
        memory_format: of feature maps in torch.
        compiled: through ``torch.compile``.
        autocast: on CUDA, with weights in fp32.
        compute_unit: of Core ML.
        packages: folder of Core ML's packages.
    """

    device: str | None = None
    precision: str | None = None
    threads: int | None = None
    memory_format: MemoryFormat | None = None
    compiled: bool | None = None
    autocast: bool | None = None
    compute_unit: str | None = None
    packages: Path | None = None

    def completed_by(self, table: LatencyTable) -> ProfilerChoice:
        """The same, with what was left open as a table has it.

        Raises:
            TableError: if no profiler of evounet measured the table.
        """
        about = table.metadata
        if not table.is_profiled:
            raise TableError(
                f"evounet profile cannot add rows to latency table '{about.name}'; {table.remedy}"
            )
        device = about.runtime
        if device == "torch":
            device = "cuda" if about.compute_unit == "cuda" else "cpu"
        theirs = ProfilerChoice(
            device=device,
            precision=about.precision.removesuffix(_AUTOCAST),
            threads=about.threads,
            memory_format=about.memory_format,
            compiled=about.compiled,
            autocast=about.precision.endswith(_AUTOCAST),
            compute_unit=about.compute_unit,
        )
        choices = _CHOICES.get(self.device or device, ())
        open_ones = {
            name: value
            for name, value in asdict(theirs).items()
            if getattr(self, name) is None and name in ("device", "precision", *choices)
        }
        return ProfilerChoice(**{**asdict(self), **open_ones})


def make_profiler(choice: ProfilerChoice) -> BlockProfiler:
    """The profiler of a choice, with defaults for what is left open.

    Raises:
        ValueError: if the device has no such choice, precision or compute unit, or is not there.
    """
    device = choice.device or "cpu"
    given = {
        name: value
        for name, value in asdict(choice).items()
        if value is not None and name not in ("device", "precision")
    }
    strange = [name for name in given if name not in _CHOICES[device]]
    if strange:
        choices = ", ".join(_option(name) for name in _CHOICES[device])
        raise ValueError(
            f"{_option(strange[0])} does not apply to device {device}; it has {choices}"
        )
    precision = choice.precision or _PRECISIONS[device]
    if device == "coreml":
        given.setdefault("packages", Path(f"coreml-packages-{precision}"))
        return CoreMLProfiler(precision=precision, **given)
    kinds = {
        "cpu": TorchCpuProfiler,
        "cuda": TorchCudaProfiler,
        "onnxruntime": OnnxRuntimeProfiler,
    }
    profiler: BlockProfiler = kinds[device](precision=precision, **given)
    return profiler


def profiler_arguments(conditions: Conditions) -> list[str]:
    """What to type behind ``evounet profile`` to measure under these conditions."""
    runtime, unit = conditions["runtime"], conditions["compute_unit"]
    device = runtime if runtime != "torch" else "cuda" if unit == "cuda" else "cpu"
    precision = conditions["precision"]
    arguments = [f"--device={device}", f"--precision={precision.removesuffix(_AUTOCAST)}"]
    if conditions["threads"] is not None:
        arguments.append(f"--threads={conditions['threads']}")
    if conditions["memory_format"] != "contiguous":
        arguments.append("--channels-last")
    if conditions["compiled"] and runtime == "torch":
        arguments.append("--compile")
    if precision.endswith(_AUTOCAST):
        arguments.append("--autocast")
    if runtime == "coreml":
        arguments.append(f"--compute-unit={unit}")
    return arguments


def usual_table_name(conditions: Conditions) -> str:
    """A table's name from what it was measured on: ``amd-epyc-1core-fp32``."""
    runtime, threads = conditions["runtime"], conditions["threads"]
    words = [conditions["chip"]]
    words += [runtime] if runtime != "torch" else []
    words += [str(conditions["compute_unit"])] if runtime == "coreml" else []
    words += [f"{threads}core"] if threads is not None else []
    words += [conditions["precision"]]
    words += ["channels-last"] if conditions["memory_format"] == "channels_last" else []
    words += ["compiled"] if conditions["compiled"] and runtime == "torch" else []
    return re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower()).strip("-")


def _option(name: str) -> str:
    names = {"compiled": "compile", "memory_format": "channels-last"}
    return "--" + names.get(name, name).replace("_", "-")
