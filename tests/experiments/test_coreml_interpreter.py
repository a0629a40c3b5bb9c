"""The interpreter of MIL programs: its operations against torch's own, and what it refuses."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from experiments.export.coreml.interpreter import InterpreterError, interpret
from experiments.export.coreml.manifest import NetworkRecord
from experiments.export.coreml.operators import OPERATORS
from experiments.export.coreml.package import (
    Operation,
    PackageError,
    Program,
    TensorType,
    read_program,
)

X = torch.randn(2, 8, 6, 4, generator=torch.Generator().manual_seed(0))
PER_CHANNEL = torch.linspace(0.5, 2.0, 8)
KERNEL = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(1))


def ints(*values: int) -> Tensor:
    return torch.tensor(values)


CONV = {"dilations": ints(1, 1), "groups": torch.tensor(2)}
WHOLE = {
    "begin_mask": torch.tensor([True, False, True, True]),
    "end_mask": torch.tensor([True] * 4),
}
CASES: dict[str, tuple[str, dict[str, Any], Callable[[], Tensor]]] = {
    "silu": ("silu", {"x": X}, lambda: F.silu(X)),
    "gelu": ("gelu", {"x": X, "mode": "EXACT"}, lambda: F.gelu(X)),
    "gelu by tanh": (
        "gelu",
        {"x": X, "mode": "TANH_APPROXIMATION"},
        lambda: F.gelu(X, approximate="tanh"),
    ),
    "softmax": ("softmax", {"x": 100 * X, "axis": torch.tensor(1)}, lambda: (100 * X).softmax(1)),
    "mean": (
        "reduce_mean",
        {"x": X, "axes": ints(2, 3), "keep_dims": torch.tensor(True)},
        lambda: F.adaptive_avg_pool2d(X, 1),
    ),
    "layer norm": (
        "layer_norm",
        {"x": X, "axes": ints(-1), "epsilon": torch.tensor(0.1), "gamma": X[0, 0, 0]},
        lambda: F.layer_norm(X, (4,), X[0, 0, 0], eps=0.1),
    ),
    "batch norm": (
        "batch_norm",
        {"x": X, "mean": PER_CHANNEL, "variance": PER_CHANNEL, "gamma": PER_CHANNEL,
         "beta": PER_CHANNEL, "epsilon": torch.tensor(0.1)},
        lambda: F.batch_norm(X, PER_CHANNEL, PER_CHANNEL, PER_CHANNEL, PER_CHANNEL, eps=0.1),
    ),
    "linear": (
        "linear",
        {"x": X, "weight": X[0, 0], "bias": X[0, 0, :, 0]},
        lambda: F.linear(X, X[0, 0], X[0, 0, :, 0]),
    ),
    "matmul": (
        "matmul",
        {"x": X, "y": X, "transpose_x": torch.tensor(False), "transpose_y": torch.tensor(True)},
        lambda: X @ X.transpose(2, 3),
    ),
    "convolution padded by hand": (
        "conv",
        {"x": X, "weight": KERNEL, "pad_type": "custom", "pad": ints(0, 1, 0, 1),
         "strides": ints(2, 2), **CONV},
        lambda: F.conv2d(F.pad(X, (0, 1, 0, 1)), KERNEL, stride=2, groups=2),
    ),
    "convolution not padded": (
        "conv",
        {"x": X, "weight": KERNEL, "pad_type": "valid", "pad": ints(0, 0, 0, 0),
         "strides": ints(1, 1), "bias": PER_CHANNEL[:6], **CONV},
        lambda: F.conv2d(X, KERNEL, PER_CHANNEL[:6], groups=2),
    ),
    "upsampling": (
        "upsample_nearest_neighbor",
        {"x": X, "scale_factor_height": torch.tensor(2.0), "scale_factor_width": torch.tensor(3.0)},
        lambda: F.interpolate(X, scale_factor=(2, 3), mode="nearest"),
    ),
    "split in sizes": (
        "split",
        {"x": X, "axis": torch.tensor(1), "split_sizes": ints(2, 6)},
        lambda: X[:, :2],
    ),
    "split in parts": (
        "split",
        {"x": X, "axis": torch.tensor(3), "num_splits": torch.tensor(2)},
        lambda: X[..., :2],
    ),
    "slice": (
        "slice_by_index",
        {"x": X, "begin": ints(5, 1, 0, 0), "end": ints(0, 0, 0, 0), "stride": ints(1, 3, 2, 1),
         **WHOLE},
        lambda: X[:, 1::3, ::2],
    ),
    "reshape": ("reshape", {"x": X, "shape": ints(0, 4, -1)}, lambda: X.view(2, 4, 48)),
    "expand": ("expand_dims", {"x": X, "axes": ints(-1, 0)}, lambda: X[None, ..., None]),
    "rows": (
        "gather",
        {"x": X, "axis": torch.tensor(1), "indices": torch.tensor([[7, 0], [1, 1]])},
        lambda: X[:, [[7, 0], [1, 1]]],
    ),
    "places": (
        "gather_nd",
        {"x": X, "indices": torch.tensor([[0, 7], [1, 2]])},
        lambda: torch.stack([X[0, 7], X[1, 2]]),
    ),
    "largest": (
        "reduce_argmax",
        {"x": X, "axis": torch.tensor(-1), "keep_dims": torch.tensor(False)},
        lambda: X.max(-1).indices,
    ),
    # 4 bits: two to a byte, the lower half first.
    "palette": (
        "constexpr_lut_to_dense",
        {"indices": ints(0x21, 0xF0), "lut": torch.arange(16.0), "shape": ints(2, 2)},
        lambda: torch.tensor([[1.0, 2.0], [0.0, 15.0]]),
    ),
    # 6 bits: 000001, 000010, 000011, 111111 from the lowest bit on.
    "palette across bytes": (
        "constexpr_lut_to_dense",
        {"indices": ints(0b10000001, 0b00110000, 0b11111100), "lut": torch.arange(64.0),
         "shape": ints(4)},
        lambda: torch.tensor([1.0, 2.0, 3.0, 63.0]),
    ),
    "steps": (
        "constexpr_affine_dequantize",
        {"quantized_data": ints(-1, 3)[:, None], "zero_point": ints(0, 1),
         "scale": torch.tensor([0.5, 2.0]), "axis": torch.tensor(0)},
        lambda: torch.tensor([[-0.5], [4.0]]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_an_operation_is_what_torch_has_of_it(case: str) -> None:
    kind, given, expected = CASES[case]
    answer = OPERATORS[kind](**given)
    first = answer if isinstance(answer, Tensor) else answer[0]
    torch.testing.assert_close(first, expected(), rtol=1e-5, atol=1e-6)


def program(kind: str, output: TensorType, **inputs: Any) -> Program:
    """Of one operation on ``x``, three numbers in fp16."""
    x = TensorType("x", "FLOAT16", (3,))
    operation = Operation(kind, {"x": ("x",), **inputs}, (output,), {})
    return Program((x,), (output,), (operation,), ((x,), (output,)), 0)


def test_answers_are_rounded_to_the_declared_type() -> None:
    thirds = torch.tensor([1.0, 2.0, 4.0]).half()
    given = {"y": np.array(3, np.float16)}
    half = program("real_div", TensorType("third", "FLOAT16", (3,)), **given)
    single = program("real_div", TensorType("third", "FLOAT32", (3,)), **given)
    rounded, exact = (interpret(each, {"x": thirds})["third"] for each in (half, single))
    assert rounded.dtype == torch.float16
    assert rounded.equal(exact.half())
    assert not rounded.float().equal(exact)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (
            program("fold", TensorType("y", "FLOAT16", (3,))),
            "y: operation 'fold' is unknown to the interpreter; on a Mac",
        ),
        (
            program("square", TensorType("y", "FLOAT16", (2,))),
            r"y: operation 'square' answers the shape \(3,\), declared is \(2,\)",
        ),
        (
            program("cast", TensorType("y", "INT16", (3,)), dtype="int16"),
            "y: operation 'cast' answers numbers that do not fit INT16",
        ),
        (
            program("square", TensorType("y", "FLOAT64", (3,))),
            "y: operation 'square' is of type FLOAT64, which is unknown",
        ),
        (
            program("softmax", TensorType("y", "FLOAT16", (3,))),
            "y: operation 'softmax' fails: .*axis",
        ),
    ],
)
def test_programs_that_are_wrong_are_refused(broken: Program, message: str) -> None:
    with pytest.raises(InterpreterError, match=message):
        interpret(broken, {"x": torch.tensor([0.0, 1.0, 40000.0]).half()})


def test_what_is_no_package_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"is no readable Core ML program .*; export"):
        read_program(tmp_path / "lost.mlpackage")
    manifest = '{"rootModelIdentifier": "a", "itemInfoEntries": {"a": {"path": "m"}}}'
    (tmp_path / "Manifest.json").write_text(manifest)
    (tmp_path / "Data").mkdir()
    (tmp_path / "Data" / "m").write_bytes(b"\xff" * 100)
    with pytest.raises(PackageError, match=r"is no readable Core ML program .*; export"):
        read_program(tmp_path)


def test_equal_answers_are_remembered() -> None:
    """Their PSNR is infinite."""
    record = NetworkRecord(
        name="Unet",
        packages=("Unet.mlpackage",),
        parameters=1,
        weight_bytes=2,
        operations={"add": 1},
        seconds=0.5,
        psnr_db=math.inf,
        max_abs_diff=0.0,
    )
    assert NetworkRecord.model_validate_json(record.model_dump_json()) == record
