"""A torch module as an ML program of Core ML, by ``torch.export``.

Importing this imports torch and coremltools; the rest of the package does without.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def ml_program(
    module: nn.Module, inputs: tuple[Tensor, ...], precision: str, outputs: Sequence[str] = ()
) -> Any:
    """Convert a module for iOS 17 and macOS 14 or later.

    Args:
        module: in evaluation mode on the CPU, in fp32. The program's inputs bear the names of its
            parameters, and have the types and shapes of ``inputs``.
        inputs: positional arguments to call it with.
        precision: ``fp16`` or ``fp32``, in which it computes.
        outputs: names of what it returns, which is fp32 then; else the converter names it and it
            is of ``precision``.

    Returns:
        A ``coremltools.models.MLModel`` that is not loaded, so that it works on any machine.
    """
    with quiet_coremltools():
        import coremltools
        import numpy

        # By torch.export: coremltools cannot convert a traced transformer of diffusers.
        with torch.no_grad():
            program = torch.export.export(module, inputs).run_decompositions({})
        return coremltools.convert(
            program,
            outputs=[coremltools.TensorType(name=n, dtype=numpy.float32) for n in outputs] or None,
            convert_to="mlprogram",
            compute_precision=coremltools.precision["FLOAT" + precision.removeprefix("fp")],
            minimum_deployment_target=coremltools.target.iOS17,
            skip_model_load=True,
        )


@contextlib.contextmanager
def quiet_coremltools() -> Iterator[None]:
    """Without the bars and the notes of coremltools, which tell nothing of what goes wrong.

    It notes that its runtime is for a Mac alone and names the torch it was last tested with.
    """
    logger = logging.getLogger("coremltools")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(before)
