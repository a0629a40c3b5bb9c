"""From a network in torch to a file of ONNX, and back to its answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from experiments.export.destination import ExportError
from experiments.export.onnx.networks import Network

MAX_ABS_DIFF = 1e-4
_LARGEST_BYTES = 2**30  # of weights in the model's own file; protobuf ends at 2 GiB


def check_installed() -> None:
    """See that what ``--format onnx`` needs is there, before anything is loaded for it.

    Raises:
        ExportError: naming the remedy.
    """
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ExportError(f"{error}; --format onnx needs: pip install 'evounet[onnx]'") from error


def convert_network(network: Network, path: Path, provenance: Mapping[str, str]) -> None:
    """Write a network as an ONNX model, in fp32 and with free batch, sizes and prompt length.

    Weights of more than 1 GiB go into a file of their own beside it.

    Args:
        network: to be written.
        path: of the model.
        provenance: what the model says of itself, as its metadata.
    """
    inputs = network.examples(network.extents[0])
    program = torch.onnx.export(
        network.module.eval(),
        tuple(inputs.values()),
        input_names=list(inputs),
        output_names=list(network.outputs),
        dynamic_shapes=tuple(dict(network.axes[name]) for name in inputs),
        dynamo=True,
        verbose=False,
    )
    assert program is not None  # it is one where no file is given
    program.model.metadata_props.update(provenance)
    weight_bytes = sum(p.numel() * p.element_size() for p in network.module.parameters())
    program.save(path, external_data=weight_bytes > _LARGEST_BYTES)


def max_abs_diff(network: Network, path: Path) -> float:
    """Largest difference of ONNX Runtime's answers to torch's, on this machine's CPU.

    Over all outputs, with inputs of all extents that the network was not traced with; not a
    number if an answer is none.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    differences = []
    for extent in network.extents[1:]:
        inputs = network.examples(extent)
        answers = session.run(network.outputs, {k: value.numpy() for k, value in inputs.items()})
        for expected, answer in zip(network.answers(inputs).values(), answers, strict=True):
            differences.append(_difference(expected, torch.from_numpy(answer)))
    return torch.stack(differences).max().item()


def _difference(expected: Tensor, answer: Tensor) -> Tensor:
    """Infinite where shapes differ."""
    if expected.shape != answer.shape:
        return torch.tensor(torch.inf)
    return (expected - answer).abs().max()


def check_difference(name: str, difference: float) -> None:
    """See that it is small enough.

    Raises:
        ExportError: if it is more than :data:`MAX_ABS_DIFF`.
    """
    if not difference <= MAX_ABS_DIFF:
        raise ExportError(
            f"{name}: ONNX Runtime differs from torch by {difference:.2g}, at most "
            f"{MAX_ABS_DIFF:g} is allowed; nothing was written: export it in another format, or "
            "try another version of onnxruntime"
        )
