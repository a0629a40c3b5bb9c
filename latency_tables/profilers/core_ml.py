"""Profiling with Core ML: blocks become ``.mlpackage`` files anywhere and are timed on a Mac.

Whole blocks are timed, warmed up and repeated. Core ML's own per-operation times are shares of
the total by estimated cost, and coremltools' benchmarker runs once and cold by default.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from latency_tables.parsing import parse_json
from latency_tables.profilers.torch_cpu import chip_name
from latency_tables.profiling import BlockProfiler, Conditions
from latency_tables.signature import BlockSignature
from latency_tables.table import TableError

COMPUTE_UNITS = ("all", "cpu_and_ne", "cpu_and_gpu", "cpu_only")
_PRECISIONS = ("fp16", "fp32")
_MANIFEST = "manifest.json"


class CoreMLProfiler(BlockProfiler):
    """Runs blocks as ML programs on one of Core ML's choices of compute units.

    Args:
        packages: folder of the ``.mlpackage`` files and their manifest; what it lacks is
            converted into it.
        precision: ``fp16`` or ``fp32``.
        compute_unit: one of :data:`COMPUTE_UNITS`; ``ne`` is the Neural Engine.

    Raises:
        ValueError: for any other precision or compute unit.
        TableError: if the folder's manifest is damaged, or of another precision.
    """

    # Elsewhere packages are written and nothing is timed.
    can_measure = sys.platform == "darwin"

    def __init__(
        self, packages: Path, precision: str = "fp16", compute_unit: str = "cpu_and_ne"
    ) -> None:
        if precision not in _PRECISIONS:
            raise ValueError(f"precision {precision!r} is unknown; use {' or '.join(_PRECISIONS)}")
        if compute_unit not in COMPUTE_UNITS:
            choices = ", ".join(COMPUTE_UNITS)
            raise ValueError(f"compute unit {compute_unit!r} is unknown; use one of {choices}")
        self.packages = packages
        self.precision = precision
        self.compute_unit = compute_unit
        self._files = _read_manifest(packages / _MANIFEST, precision)

    def describe(self) -> Conditions:
        import coremltools

        return Conditions(
            device=f"{os.cpu_count()}-core Mac",
            chip=chip_name(),
            os=f"macOS {platform.mac_ver()[0]}",
            runtime="coreml",
            runtime_version=coremltools.__version__,
            precision=self.precision,
            threads=None,
            compute_unit=self.compute_unit,
            memory_format="contiguous",
            compiled=True,
        )

    def prepare(self, signature: BlockSignature) -> Callable[[], object]:
        """Load the block's package, converting it first if need be.

        Raises:
            TableError: on anything but a Mac.
        """
        if not self.can_measure:
            raise TableError(
                "Core ML runs on macOS alone; write the packages here, and measure them there"
            )
        model = _load(self.packages / self.write(signature), self.compute_unit)
        return partial(model.predict, _inputs(model.get_spec()))

    def write_all(
        self,
        signatures: Iterable[BlockSignature],
        on_progress: Callable[[int], None] = lambda done: None,
    ) -> None:
        """Convert every one that the folder lacks; interrupted, it goes on when called again."""
        for done, signature in enumerate(signatures, start=1):
            self.write(signature)
            on_progress(done)

    def write(self, signature: BlockSignature) -> str:
        """The name of a signature's package in the folder; it is converted if it is not there."""
        known = self._files.get(signature)
        if known is not None and (self.packages / known).is_dir():
            return known
        name = f"{len(self._files):04d}-{signature.kind}.mlpackage"
        self.packages.mkdir(parents=True, exist_ok=True)
        _convert(signature, self.precision).save(str(self.packages / name))
        self._files[signature] = name
        _write_manifest(self.packages / _MANIFEST, self.precision, self._files)
        return name


def _load(package: Path, compute_unit: str) -> Any:
    import coremltools

    units = coremltools.ComputeUnit[compute_unit.upper()]
    return coremltools.models.MLModel(str(package), compute_units=units)


def _convert(signature: BlockSignature, precision: str) -> Any:
    from latency_tables.profilers.ml_program import ml_program
    from latency_tables.profilers.torch_blocks import build_block

    module, inputs = build_block(signature)
    return ml_program(module, inputs, precision)


def _inputs(spec: Any) -> dict[str, Any]:
    import numpy

    random = numpy.random.default_rng(0)
    return {
        each.name: random.standard_normal(tuple(each.type.multiArrayType.shape), numpy.float32)
        for each in spec.description.input
    }


def _read_manifest(path: Path, precision: str) -> dict[BlockSignature, str]:
    if not path.exists():
        return {}
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
        files = {BlockSignature(**each["signature"]): each["file"] for each in value["blocks"]}
        theirs = value["precision"]
    except (ValueError, KeyError, TypeError) as error:
        raise TableError(f"{path}: damaged ({error}); write the packages anew") from error
    if theirs != precision:
        raise TableError(
            f"{path}: its packages are {theirs}, not {precision}; use a folder for each precision"
        )
    return files


def _write_manifest(path: Path, precision: str, files: Mapping[BlockSignature, str]) -> None:
    blocks = [{"file": name, "signature": asdict(s)} for s, name in files.items()]
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(
        json.dumps({"precision": precision, "blocks": blocks}, indent=1) + "\n", encoding="utf-8"
    )
    os.replace(temporary, path)
