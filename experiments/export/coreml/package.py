"""What a ``.mlpackage`` says: its program's inputs, outputs, operations and weights.

Read from the files themselves by their published formats (``Model.proto`` and ``MIL.proto`` of
Core ML, the blob file that MIL stores weights in), not by the converter that wrote them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latency_tables.parsing import parse_json
from latency_tables.profilers.ml_program import quiet_coremltools

Value = NDArray[Any] | str

_BLOB_SENTINEL = 0xDEADBEEF
_BLOB_OFFSET = slice(16, 24)  # of a blob's metadata: where its data begin
# Of MIL's element types; the rest are narrower than a byte and appear in no program of iOS 17.
_NUMPY_TYPES = {
    "BOOL": np.bool_,
    "FLOAT16": np.float16,
    "FLOAT32": np.float32,
    "FLOAT64": np.float64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
}


class PackageError(ValueError):
    """A package that is missing, damaged, or of a kind that is not read here."""


@dataclass(frozen=True)
class TensorType:
    """Name, element type (``FLOAT16`` ...) and shape of a value in a program."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Operation:
    """One operation of a program.

    Attributes:
        kind: ``conv``, ``matmul`` ...; ``const`` and ``constexpr_...`` hold weights.
        inputs: by the parameter's name the names of the values that are given to it, or a value.
        outputs: what it answers.
        attributes: values that belong to it, by name.
    """

    kind: str
    inputs: Mapping[str, tuple[str, ...] | Value]
    outputs: tuple[TensorType, ...]
    attributes: Mapping[str, Value]


@dataclass(frozen=True)
class Program:
    """The one function of an ML program.

    Attributes:
        inputs: that it is called with.
        outputs: that it answers.
        operations: in the order in which they run; weights are mapped from disk, not read.
        described: the same inputs and outputs as the model's description has them, which is what
            an app sees.
        weight_bytes: size of the file of weights.
    """

    inputs: tuple[TensorType, ...]
    outputs: tuple[TensorType, ...]
    operations: tuple[Operation, ...]
    described: tuple[tuple[TensorType, ...], tuple[TensorType, ...]]
    weight_bytes: int

    @property
    def histogram(self) -> Counter[str]:
        """How often each kind of operation occurs, without those that hold weights."""
        return Counter(o.kind for o in self.operations if not o.kind.startswith("const"))


def read_program(package: Path) -> Program:
    """Read an ML program.

    Raises:
        PackageError: naming the package, if it is missing or damaged, or no program of a single
            function without nested blocks.
    """
    try:
        return _read(package)
    except (OSError, KeyError, ValueError, TypeError, IndexError) as error:
        raise PackageError(
            f"{package}: is no readable Core ML program ({error}); export it again"
        ) from error


def _read(package: Path) -> Program:
    with quiet_coremltools():
        from coremltools.proto import Model_pb2
        from google.protobuf.message import DecodeError

    manifest = parse_json((package / "Manifest.json").read_text(encoding="utf-8"))
    root = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"]
    model = Model_pb2.Model()
    try:
        model.ParseFromString((package / "Data" / root).read_bytes())
    except DecodeError as error:
        raise ValueError(f"{root}: {error}") from error
    if set(model.mlProgram.functions) != {"main"}:
        raise ValueError("it has other functions than 'main'")
    function = model.mlProgram.functions["main"]
    block = function.block_specializations[function.opset]
    weights = _Weights((package / "Data" / root).parent)
    operations = tuple(_operation(each, weights) for each in block.operations)
    types = {each.name: each for operation in operations for each in operation.outputs}
    return Program(
        tuple(_tensor_type(each.name, each.type) for each in function.inputs),
        tuple(types[name] for name in block.outputs),
        operations,
        (_described(model.description.input), _described(model.description.output)),
        weights.size,
    )


def _operation(operation: Any, weights: _Weights) -> Operation:
    if operation.blocks:
        raise ValueError(f"operation {operation.type} has blocks inside of it")
    return Operation(
        operation.type,
        {name: _argument(each, weights) for name, each in operation.inputs.items()},
        tuple(_tensor_type(each.name, each.type) for each in operation.outputs),
        {n: weights.value(v) for n, v in operation.attributes.items() if n != "name"},
    )


def _argument(argument: Any, weights: _Weights) -> tuple[str, ...] | Value:
    bindings = argument.arguments
    if len(bindings) == 1 and bindings[0].WhichOneof("binding") == "value":
        return weights.value(bindings[0].value)
    return tuple(each.name for each in bindings)


def _tensor_type(name: str, value_type: Any) -> TensorType:
    from coremltools.proto import MIL_pb2

    tensor = value_type.tensorType
    shape = tuple(each.constant.size for each in tensor.dimensions)
    return TensorType(name, MIL_pb2.DataType.Name(tensor.dataType), shape)


def _described(features: Any) -> tuple[TensorType, ...]:
    from coremltools.proto import FeatureTypes_pb2

    names = FeatureTypes_pb2.ArrayFeatureType.ArrayDataType
    arrays = ((each.name, each.type.multiArrayType) for each in features)
    return tuple(
        TensorType(name, names.Name(array.dataType), tuple(array.shape)) for name, array in arrays
    )


class _Weights:
    """Values of a program: those in its text, and those in the blob files beside it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, NDArray[np.uint8]] = {}
        self.size = 0

    def value(self, value: Any) -> Value:
        """A string, or an array of the declared type and shape."""
        declared = _tensor_type("", value.type)
        if value.WhichOneof("value") == "blobFileValue":
            return self._blob(value.blobFileValue, declared)
        tensor = value.immediateValue.tensor
        kind = tensor.WhichOneof("value")
        held = getattr(tensor, kind).values
        if kind == "strings":
            [text] = held
            return str(text)
        element = _NUMPY_TYPES[declared.dtype]
        array: NDArray[Any] = (
            np.frombuffer(held, element) if kind == "bytes" else np.array(held, element)
        )
        return array.reshape(declared.shape)

    def _blob(self, reference: Any, declared: TensorType) -> NDArray[Any]:
        name = reference.fileName.removeprefix("@model_path/")
        if name not in self._files:
            self._files[name] = np.memmap(self._folder / name, np.uint8, mode="c")
            self.size += len(self._files[name])
        file = self._files[name]
        metadata = file[reference.offset : reference.offset + 64].tobytes()
        if int.from_bytes(metadata[:4], "little") != _BLOB_SENTINEL:
            raise ValueError(f"{name}: no weights at byte {reference.offset}")
        start = int.from_bytes(metadata[_BLOB_OFFSET], "little")
        element = np.dtype(_NUMPY_TYPES[declared.dtype])
        size = int(np.prod(declared.shape, dtype=np.int64)) * element.itemsize
        return file[start : start + size].view(element).reshape(declared.shape)
