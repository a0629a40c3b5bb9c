"""The operations of a MIL program, by their definitions in coremltools' reference of MIL ops.

One function for each, called with the operation's parameters by name: floating-point values come
in fp32 whatever their type in the program, whole numbers in int64, text as it is. What a function
answers is rounded to the declared type by the interpreter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Operator = Callable[..., Tensor | Sequence[Tensor]]
OPERATORS: dict[str, Operator] = {}


def operator(function: Operator) -> Operator:
    """Names a function's operation by the function's own name."""
    OPERATORS[function.__name__.removesuffix("_")] = function
    return function


# Weights


@operator
def constexpr_lut_to_dense(indices: Tensor, lut: Tensor, shape: Tensor) -> Tensor:
    """Palettized weights: indices of ``log2(len(lut))`` bits, packed from the lowest bit on."""
    bits = int(math.log2(len(lut)))
    size = math.prod(shape.tolist())
    places = torch.arange(8)
    stream = (indices[:, None] >> places & 1).flatten()[: size * bits].reshape(size, bits)
    return lut[(stream << torch.arange(bits)).sum(1)].reshape(shape.tolist())


@operator
def constexpr_affine_dequantize(
    quantized_data: Tensor, zero_point: Tensor, scale: Tensor, axis: Tensor
) -> Tensor:
    """Linearly quantized weights; scale and zero point are one number or one for each channel."""
    along = [1] * quantized_data.ndim
    along[int(axis)] = -1
    return scale.reshape(along) * (quantized_data - zero_point.reshape(along))


# Arithmetic


@operator
def add(x: Tensor, y: Tensor) -> Tensor:
    return x + y


@operator
def sub(x: Tensor, y: Tensor) -> Tensor:
    return x - y


@operator
def mul(x: Tensor, y: Tensor) -> Tensor:
    return x * y


@operator
def real_div(x: Tensor, y: Tensor) -> Tensor:
    return x / y


@operator
def square(x: Tensor) -> Tensor:
    return x * x


@operator
def sqrt(x: Tensor) -> Tensor:
    return x.sqrt()


@operator
def sin(x: Tensor) -> Tensor:
    return x.sin()


@operator
def cos(x: Tensor) -> Tensor:
    return x.cos()


@operator
def sigmoid(x: Tensor) -> Tensor:
    return x.sigmoid()


@operator
def relu(x: Tensor) -> Tensor:
    return x.relu()


@operator
def silu(x: Tensor) -> Tensor:
    return x * x.sigmoid()


@operator
def gelu(x: Tensor, mode: str = "EXACT") -> Tensor:
    if mode == "EXACT":
        return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))
    if mode == "TANH_APPROXIMATION":
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    raise ValueError(f"mode {mode}")


@operator
def softmax(x: Tensor, axis: Tensor) -> Tensor:
    exponentials = (x - x.amax(int(axis), keepdim=True)).exp()
    return exponentials / exponentials.sum(int(axis), keepdim=True)


@operator
def greater_equal(x: Tensor, y: Tensor) -> Tensor:
    return x >= y


@operator
def equal(x: Tensor, y: Tensor) -> Tensor:
    return x == y


@operator
def select(cond: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(cond, a, b)


@operator
def cast(x: Tensor, dtype: str) -> Tensor:
    """To the declared type, which the interpreter sees to; whole numbers are cut, not rounded."""
    return x.trunc() if "int" in dtype and x.is_floating_point() else x


# Reductions and normalizations


@operator
def reduce_mean(x: Tensor, axes: Tensor, keep_dims: Tensor) -> Tensor:
    return x.mean(axes.tolist(), keepdim=bool(keep_dims))


@operator
def reduce_argmax(x: Tensor, axis: Tensor, keep_dims: Tensor, output_dtype: str = "") -> Tensor:
    return x.argmax(int(axis), keepdim=bool(keep_dims))


@operator
def batch_norm(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: Tensor | None = None,
) -> Tensor:
    """With channels second, and a given mean and variance (0 and 1 where groups are scaled)."""
    along = (1, -1, *[1] * (x.ndim - 2))
    shift = 1e-5 if epsilon is None else epsilon
    answer = (x - mean.reshape(along)) / (variance.reshape(along) + shift).sqrt()
    if gamma is not None:
        answer = answer * gamma.reshape(along)
    return answer if beta is None else answer + beta.reshape(along)


@operator
def layer_norm(
    x: Tensor,
    axes: Tensor,
    epsilon: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
) -> Tensor:
    over = axes.tolist()
    centred = x - x.mean(over, keepdim=True)
    answer = centred / (centred.square().mean(over, keepdim=True) + epsilon).sqrt()
    if gamma is not None:
        answer = answer * gamma
    return answer if beta is None else answer + beta


# Products


@operator
def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    answer = x @ weight.T
    return answer if bias is None else answer + bias


@operator
def matmul(
    x: Tensor, y: Tensor, transpose_x: Tensor | bool = False, transpose_y: Tensor | bool = False
) -> Tensor:
    return (x.mT if transpose_x else x) @ (y.mT if transpose_y else y)


@operator
def einsum(values: Sequence[Tensor], equation: str) -> Tensor:
    return torch.einsum(equation, list(values))


@operator
def conv(
    x: Tensor,
    weight: Tensor,
    strides: Tensor,
    pad_type: str,
    pad: Tensor,
    dilations: Tensor,
    groups: Tensor,
    bias: Tensor | None = None,
) -> Tensor:
    """Two-dimensional; ``pad`` is top, bottom, left, right."""
    if pad_type == "custom":
        top, bottom, left, right = pad.tolist()
        x = F.pad(x, (left, right, top, bottom))
    elif pad_type != "valid":
        raise ValueError(f"pad_type {pad_type}")
    return F.conv2d(x, weight, bias, strides.tolist(), 0, dilations.tolist(), int(groups))


# Shapes


@operator
def reshape(x: Tensor, shape: Tensor) -> Tensor:
    sizes = [x.shape[i] if size == 0 else size for i, size in enumerate(shape.tolist())]
    return x.reshape(sizes)


@operator
def transpose(x: Tensor, perm: Tensor) -> Tensor:
    return x.permute(perm.tolist())


@operator
def expand_dims(x: Tensor, axes: Tensor) -> Tensor:
    rank = x.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes.tolist()):
        x = x.unsqueeze(axis)
    return x


@operator
def squeeze(x: Tensor, axes: Tensor) -> Tensor:
    return x.squeeze(axes.tolist())


@operator
def split(
    x: Tensor,
    axis: Tensor,
    split_sizes: Tensor | None = None,
    num_splits: Tensor | None = None,
) -> Sequence[Tensor]:
    if split_sizes is not None:
        return x.split(split_sizes.tolist(), int(axis))
    assert num_splits is not None
    return x.tensor_split(int(num_splits), int(axis))


@operator
def concat(values: Sequence[Tensor], axis: Tensor, interleave: Tensor | bool = False) -> Tensor:
    if interleave:
        raise ValueError("interleave")
    return torch.cat(list(values), int(axis))


@operator
def stack(values: Sequence[Tensor], axis: Tensor) -> Tensor:
    return torch.stack(list(values), int(axis))


@operator
def slice_by_index(
    x: Tensor,
    begin: Tensor,
    end: Tensor,
    stride: Tensor | None = None,
    begin_mask: Tensor | None = None,
    end_mask: Tensor | None = None,
    squeeze_mask: Tensor | None = None,
) -> Tensor:
    """Forward slices; a mask says for an axis that its begin or end is the array's own."""

    def listed(values: Tensor | None, default: Any) -> list[Any]:
        return [default] * x.ndim if values is None else values.tolist()

    steps, squeezed = listed(stride, 1), listed(squeeze_mask, False)
    if min(steps) < 1:
        raise ValueError(f"stride {steps}")
    begins = zip(begin.tolist(), listed(begin_mask, False), strict=True)
    ends = zip(end.tolist(), listed(end_mask, False), strict=True)
    index: list[int | slice] = []
    for (first, from_start), (last, to_end), step, dropped in zip(
        begins, ends, steps, squeezed, strict=True
    ):
        start = 0 if from_start else first
        index.append(start if dropped else slice(start, None if to_end else last, step))
    return x[tuple(index)]


@operator
def upsample_nearest_neighbor(
    x: Tensor, scale_factor_height: Tensor, scale_factor_width: Tensor
) -> Tensor:
    height, width = int(scale_factor_height), int(scale_factor_width)
    return x.repeat_interleave(height, -2).repeat_interleave(width, -1)


@operator
def gather(
    x: Tensor,
    indices: Tensor,
    axis: Tensor,
    batch_dims: Tensor | int = 0,
    validate_indices: Tensor | bool = False,
) -> Tensor:
    if batch_dims:
        raise ValueError(f"batch_dims {int(batch_dims)}")
    along = int(axis) % x.ndim
    taken = x.index_select(along, indices.flatten())
    return taken.reshape(*x.shape[:along], *indices.shape, *x.shape[along + 1 :])


@operator
def gather_nd(
    x: Tensor,
    indices: Tensor,
    batch_dims: Tensor | int = 0,
    validate_indices: Tensor | bool = False,
) -> Tensor:
    if batch_dims:
        raise ValueError(f"batch_dims {int(batch_dims)}")
    return x[tuple(indices.unbind(-1))]
