"""Runs an ML program on any machine, as a check of the converter that wrote it.

Every value is rounded to its declared type; the sums inside of one operation are taken in fp32.
A device may round within an operation too, and differ by as much.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from experiments.export.coreml.operators import OPERATORS
from experiments.export.coreml.package import Operation, Program, TensorType, Value

_FLOATS = {"FLOAT16": torch.float16, "FLOAT32": torch.float32}
Given = Tensor | str | list[Tensor]


class InterpreterError(ValueError):
    """A program that asks for what the interpreter does not know, or contradicts itself."""


@torch.inference_mode()
def interpret(
    program: Program,
    inputs: Mapping[str, Tensor],
    on_operation: Callable[[int], None] = lambda done: None,
) -> dict[str, Tensor]:
    """What a program answers.

    Args:
        program: of fp32, fp16 and whole numbers.
        inputs: a tensor for each of its inputs, by name.
        on_operation: called with the number of operations done.

    Returns:
        Its outputs by name, each of its declared type and shape.

    Raises:
        InterpreterError: naming the operation, if it is unknown, its answer has another shape
            than is declared, or a whole number does not fit its declared type.
    """
    values: dict[str, Given] = {
        each.name: _as_declared(inputs[each.name], each, "input") for each in program.inputs
    }
    wanted = {each.name for each in program.outputs}
    last_use = _last_use(program)
    for place, operation in enumerate(program.operations):
        for declared, answer in zip(operation.outputs, _answers(operation, values), strict=True):
            values[declared.name] = _as_declared(answer, declared, operation.kind)
        for name in last_use.get(place, ()):
            if name not in wanted:
                values.pop(name, None)
        on_operation(place + 1)
    return {name: value for name in wanted if isinstance(value := values[name], Tensor)}


def _answers(operation: Operation, values: Mapping[str, Given]) -> Sequence[Given]:
    """What an operation answers, not yet rounded."""
    if operation.kind == "const":
        return [_loaded(operation.attributes["val"])]
    name = operation.outputs[0].name
    if operation.kind not in OPERATORS:
        raise InterpreterError(
            f"{name}: operation {operation.kind!r} is unknown to the interpreter; "
            "on a Mac 'evounet export verify' runs it"
        )
    given = {k: _widened(_loaded(v)) for k, v in operation.attributes.items()}
    for parameter, argument in operation.inputs.items():
        given[parameter] = _given(parameter, argument, values)
    try:
        answer = OPERATORS[operation.kind](**given)
    except (TypeError, ValueError, RuntimeError, IndexError) as error:
        raise InterpreterError(f"{name}: operation {operation.kind!r} fails: {error}") from error
    return [answer] if isinstance(answer, Tensor) else list(answer)


def _given(parameter: str, argument: tuple[str, ...] | Value, values: Mapping[str, Given]) -> Given:
    if not isinstance(argument, tuple):
        return _widened(_loaded(argument))
    # ``values`` is the one parameter that takes several, and takes one as several too.
    if parameter == "values":
        each = [_widened(values[name]) for name in argument]
        return [value for value in each if isinstance(value, Tensor)]
    [name] = argument
    return _widened(values[name])


def _loaded(value: Value) -> Given:
    if isinstance(value, str):
        return value
    if value.dtype in (np.uint16, np.uint32):  # of which torch knows little
        return torch.from_numpy(value.astype(np.int64))
    # Torch warns of arrays that must not be written to; weights may be, in memory alone.
    return torch.from_numpy(value if value.flags.writeable else value.copy())


def _widened(value: Given) -> Given:
    if not isinstance(value, Tensor) or value.dtype == torch.bool:
        return value
    return value.float() if value.is_floating_point() else value.long()


def _as_declared(value: Given, declared: TensorType, kind: str) -> Given:
    """Rounded to the declared type, after a look at its shape."""
    where = f"{declared.name}: operation {kind!r}"
    if isinstance(value, str):
        return value
    if not isinstance(value, Tensor) or declared.dtype not in {*_FLOATS, "BOOL"} | _RANGES.keys():
        raise InterpreterError(f"{where} is of type {declared.dtype}, which is unknown")
    if tuple(value.shape) != declared.shape:
        raise InterpreterError(
            f"{where} answers the shape {tuple(value.shape)}, declared is {declared.shape}"
        )
    if declared.dtype in _FLOATS:
        return value.to(_FLOATS[declared.dtype])
    if declared.dtype == "BOOL":
        return value.bool()
    whole = value.long()
    least, most = _RANGES[declared.dtype]
    if whole.numel() and not (least <= int(whole.min()) and int(whole.max()) <= most):
        raise InterpreterError(f"{where} answers numbers that do not fit {declared.dtype}")
    return whole


_RANGES = {
    f"{sign}INT{bits}": (0, 2**bits - 1) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    for sign in ("", "U")
    for bits in (8, 16, 32)
}


def _last_use(program: Program) -> dict[int, list[str]]:
    """By the place of an operation the values that no later one reads."""
    last: dict[str, int] = {}
    for place, operation in enumerate(program.operations):
        for output in operation.outputs:
            last[output.name] = place
        for argument in operation.inputs.values():
            if isinstance(argument, tuple):
                last.update(dict.fromkeys(argument, place))
    places: dict[int, list[str]] = {}
    for name, place in last.items():
        places.setdefault(place, []).append(name)
    return places
