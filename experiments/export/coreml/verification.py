"""Whether a package computes what torch does, and is what an app expects."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from experiments.export.coreml.interpreter import interpret
from experiments.export.coreml.networks import Network
from experiments.export.coreml.package import Program, TensorType, read_program
from experiments.export.destination import ExportError
from experiments.progress import track
from latency_tables.profilers.ml_program import quiet_coremltools

MIN_PSNR_DB = 35.0  # what Apple's converter insists on
_TYPES = {torch.float16: "FLOAT16", torch.float32: "FLOAT32"}

# Answers of a package to some inputs, both by name; inputs that it does not have are left.
Predictor = Callable[[Path, Mapping[str, Tensor]], dict[str, Tensor]]


@dataclass(frozen=True)
class Agreement:
    """How far answers are from torch's.

    Attributes:
        psnr_db: the least of all outputs, in dB; see :func:`psnr_db`.
        max_abs_diff: the greatest of all outputs.
    """

    psnr_db: float
    max_abs_diff: float

    def __str__(self) -> str:
        return f"PSNR {self.psnr_db:.1f} dB, max abs diff {self.max_abs_diff:.2g}"


def psnr_db(reference: Tensor, answer: Tensor) -> float:
    """``20 log10(peak / RMSE)``; the peak is the greatest magnitude in the reference, as Apple's.

    Infinite for equal tensors, minus infinity where the answer is not finite.
    """
    error = (reference.double() - answer.double()).square().mean().sqrt().item()
    peak = reference.abs().max().item()
    if error == 0:
        return math.inf
    return 20 * math.log10(peak / error) if peak and math.isfinite(error) else -math.inf


def compare(reference: Mapping[str, Tensor], answers: Mapping[str, Tensor]) -> Agreement:
    """How far answers are from a reference with the same names."""
    pairs = [(reference[name], answers[name].float()) for name in reference]
    return Agreement(
        min(psnr_db(a, b) for a, b in pairs),
        max((a - b).abs().max().item() for a, b in pairs),
    )


def answers_of(
    packages: Sequence[Path], inputs: Mapping[str, Tensor], predict: Predictor
) -> dict[str, Tensor]:
    """What packages answer of which each is given the inputs and what those before it answered."""
    values = dict(inputs)
    answers: dict[str, Tensor] = {}
    for package in packages:
        answers = predict(package, values)
        values.update(answers)
    return answers


def check_agreement(where: str, agreement: Agreement) -> None:
    """See that it is close enough.

    Raises:
        ExportError: if the PSNR is less than :data:`MIN_PSNR_DB`.
    """
    if agreement.psnr_db < MIN_PSNR_DB:
        raise ExportError(
            f"{where}: differs from torch by {agreement}, at least {MIN_PSNR_DB:.0f} dB are "
            "wanted; give its weights more bits (--weights) or export it in another format"
        )


def check_features(package: Path, network: Network, answers: Mapping[str, Tensor]) -> Program:
    """See that a whole network's package takes and answers what the runtime will ask of it.

    Args:
        package: of a network in one piece.
        network: that it was made from.
        answers: torch's.

    Returns:
        Its program.

    Raises:
        ExportError: naming the first feature of another name, type or shape.
    """
    program = check_types(package)
    wanted = [
        [TensorType(n, _TYPES[value.dtype], tuple(value.shape)) for n, value in features.items()]
        for features in (network.inputs, answers)
    ]
    for expected, given in zip(wanted, (program.inputs, program.outputs), strict=True):
        by_name = {each.name: each for each in given}
        for feature in expected:
            if by_name.get(feature.name) != feature:
                raise ExportError(f"{package.name}: wants {feature}, has {list(given)}")
        if len(given) != len(expected):
            raise ExportError(f"{package.name}: has more than {expected}: {list(given)}")
    return program


def check_types(package: Path) -> Program:
    """See that a program has no double precision, and that its description is right about it.

    Raises:
        ExportError: if not.
        PackageError: if it cannot be read.
    """
    program = read_program(package)
    for operation in program.operations:
        for output in operation.outputs:
            if output.dtype == "FLOAT64":
                raise ExportError(
                    f"{package.name}: {output.name} is of double precision, which no Apple "
                    "accelerator computes in"
                )
    for described, own in zip(program.described, (program.inputs, program.outputs), strict=True):
        if {each.name: each for each in described} != {each.name: each for each in own}:
            raise ExportError(f"{package.name}: is described as {described}, and has {own}")
    return program


def interpreted(console: Console) -> Predictor:
    """Predicts with evounet's interpreter on any machine, and shows how far it is."""

    def predict(package: Path, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        program = read_program(package)
        total = len(program.operations)
        with track(console, f"{package.stem}: interpreting", total) as on_progress:
            return interpret(program, inputs, lambda done: on_progress(done, {}))

    return predict


def predicted(package: Path, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Predicts with Core ML itself, on all of its compute units; on a Mac alone."""
    with quiet_coremltools():
        from coremltools.models import MLModel

        model = MLModel(str(package))
    names = [each.name for each in model.get_spec().description.input]
    answers = model.predict({name: inputs[name].numpy() for name in names})
    return {name: torch.from_numpy(value).float() for name, value in answers.items()}
