"""What a search found, as it leaves evounet: its UNet by itself, and its spec."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata

from torch import Tensor

from experiments.search_parts import Parts
from supernet.architecture import Architecture
from supernet.growth import load_weights
from supernet.materialize import materialize
from supernet.spec import ClipFigure, Provenance, Spec, TableFigure, build_spec
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


def found_spec(parts: Parts, architecture: Architecture, clip: ClipFigure, weights: str) -> Spec:
    """The spec of an architecture, with the latencies of all of the search's tables.

    Args:
        parts: of the search.
        architecture: that was found.
        clip: its score, and how it was taken.
        weights: digest of its UNet's.
    """
    return build_spec(
        parts.latency.inventory,
        architecture,
        tuple(
            TableFigure(
                table=latency.table.metadata.name,
                device=latency.table.metadata.device,
                precision=latency.table.metadata.precision,
                base_ms=latency(parts.full),
                found_ms=latency(architecture),
            )
            for latency in parts.latencies
        ),
        clip,
        Provenance(
            experiment=parts.experiment.name,
            seed=parts.experiment.seed,
            evounet=metadata.version("evounet"),
            weights=weights,
        ),
    )
