"""From a network to the Core ML packages that stand for it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.export.coreml.choices import WeightFormat
from experiments.export.coreml.compression import compressed
from experiments.export.coreml.networks import Network
from experiments.export.destination import ExportError
from latency_tables.profilers.ml_program import ml_program, quiet_coremltools


def convert_network(
    network: Network, folder: Path, weights: WeightFormat, provenance: Mapping[str, str]
) -> Path:
    """Write a network's package in fp16 into a folder.

    Args:
        network: to be converted.
        folder: that is there.
        weights: how they are stored.
        provenance: what else the package says of itself, by name.

    Returns:
        The package.

    Raises:
        ExportError: if coremltools cannot convert it.
    """
    try:  # what torch.export and coremltools raise for what they cannot say
        model = ml_program(
            network.module, tuple(network.inputs.values()), "fp16", outputs=network.outputs
        )
        model = compressed(model, weights)
    except (NotImplementedError, RuntimeError, TypeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ExportError(
            f"{network.name}: coremltools cannot convert this network "
            f"({type(error).__name__}: {reason}); export it with --format diffusers or onnx"
        ) from error
    return _save(model, network, folder / f"{network.name}.mlpackage", provenance)


def bisect_package(package: Path, network: Network, provenance: Mapping[str, str]) -> list[Path]:
    """Put two packages of about half the weights in the place of one.

    What the first answers the second is given, besides inputs of the whole; the runtime looks for
    them under these names.

    Args:
        package: of one network; it goes.
        network: that it was made from.
        provenance: see :func:`convert_network`.
    """
    whole = package.with_suffix("")
    with quiet_coremltools():
        from coremltools.models import MLModel
        from coremltools.models.utils import bisect_model

        bisect_model(str(package), str(package.parent), check_output_correctness=False)
        chunks = []
        for number in (1, 2):
            made = whole.with_name(f"{whole.name}_chunk{number}.mlpackage")
            chunk = whole.with_name(f"{whole.name}Chunk{number}.mlpackage")
            _save(MLModel(str(made), skip_model_load=True), network, chunk, provenance)
            shutil.rmtree(made)
            chunks.append(chunk)
    shutil.rmtree(package)
    return chunks


def _save(model: Any, network: Network, package: Path, provenance: Mapping[str, str]) -> Path:
    """Write a model with what is to be known of it."""
    model.short_description = network.about
    model.author = "evounet"
    model.user_defined_metadata.update(provenance)
    description = model.get_spec().description
    for features, notes in (
        (description.input, model.input_description),
        (description.output, model.output_description),
    ):
        for feature in features:
            notes[feature.name] = network.notes.get(
                feature.name, "Handed from the first half of the network to the second"
            )
    with quiet_coremltools():
        model.save(str(package))
    return package
