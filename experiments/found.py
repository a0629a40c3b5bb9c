"""What a search found, as it leaves evounet: its UNet by itself, and its spec."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from torch import Tensor

from evaluators.evaluator import EvaluatorSpec
from evaluators.latency import TableLatency
from experiments.search_parts import Parts
from supernet.architecture import Architecture
from supernet.growth import load_weights
from supernet.materialize import materialize
from supernet.spec import ClipFigure, Provenance, Spec, TableFigure, WeightsFile, build_spec
from supernet.standalone_unet import StandaloneUNet


def found_unet(
    parts: Parts, weights: Mapping[str, Tensor], architecture: Architecture
) -> StandaloneUNet:
    """The standalone UNet of an architecture.

    Args:
        parts: of the search; its pipeline's own UNet is as before afterwards.
        weights: of the supernet.
        architecture: what of it runs.
    """
    base = parts.pipeline.unet
    own = {name: value.clone() for name, value in base.state_dict().items()}
    load_weights(base, weights)
    try:
        return materialize(base, architecture)
    finally:
        load_weights(base, own)


def found_spec(
    parts: Parts, architecture: Architecture, clip: ClipFigure, weights: tuple[WeightsFile, ...]
) -> Spec:
    """The spec of an architecture, with the latencies of all of the search's tables.

    Args:
        parts: of the search.
        architecture: that was found.
        clip: its score, and how it was taken.
        weights: the files that they are in.
    """
    return build_spec(
        parts.latency.inventory,
        architecture,
        table_figures(parts.latencies, architecture),
        clip,
        Provenance(
            experiment=parts.experiment.name,
            seed=parts.experiment.seed,
            evounet=metadata.version("evounet"),
            weights=weights,
        ),
    )


def table_figures(
    latencies: Sequence[TableLatency], architecture: Architecture
) -> tuple[TableFigure, ...]:
    """Latency of an architecture and of its base by each of some tables."""
    return tuple(
        TableFigure(
            table=latency.table.metadata.name,
            digest=latency.table.digest,
            device=latency.table.metadata.device,
            precision=latency.table.metadata.precision,
            base_ms=latency(latency.inventory.full()),
            found_ms=latency(architecture),
        )
        for latency in latencies
    )


def clip_figure(drawn: EvaluatorSpec, judge: str, base: float, found: float) -> ClipFigure:
    """Mean scores of the base and of the found UNet.

    Args:
        drawn: how their pictures were drawn.
        judge: its name, as the experiment has it.
        base: score of the base.
        found: of the found UNet.
    """
    return ClipFigure(
        base=base,
        found=found,
        prompts=len(drawn.prompts),
        prompt_set=drawn.prompts.id,
        num_inference_steps=drawn.sampling.num_inference_steps,
        guidance_scale=drawn.sampling.guidance_scale,
        precision=drawn.sampling.precision,
        judge=judge,
    )


def weights_files(folder: Path, beside: Path) -> tuple[WeightsFile, ...]:
    """The files of weights in a folder, with their paths from another one."""
    return tuple(weights_file(path, beside) for path in sorted(folder.glob("*.safetensors")))


def weights_file(path: Path, beside: Path) -> WeightsFile:
    """A file of weights with its SHA-256, and its path from a folder."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    return WeightsFile(file=path.relative_to(beside).as_posix(), sha256=digest.hexdigest())
