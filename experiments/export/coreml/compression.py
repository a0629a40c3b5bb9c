"""Fewer bits for a package's weights, through coremltools.optimize."""

from __future__ import annotations

from typing import Any

from experiments.export.coreml.choices import WeightFormat
from latency_tables.profilers.ml_program import quiet_coremltools

# Below it coremltools clusters by scikit-learn, which is much slower and not among its needs.
_FEWEST_VALUES = 10_000


def compressed(model: Any, weights: WeightFormat) -> Any:
    """A model with weights of fewer bits; the same one for fp16.

    Tensors of less than 10,000 values keep fp16, as do embedding tables, whose rows are looked up
    and not multiplied.

    Args:
        model: a ``coremltools.models.MLModel`` in fp16.
        weights: that it is to have.
    """
    method, _, bits = weights.partition("-")
    if method == "fp16":
        return model
    with quiet_coremltools():
        from coremltools.optimize import coreml

        if method == "palettize":
            how: Any = coreml.OpPalettizerConfig(
                mode="kmeans", nbits=int(bits), weight_threshold=_FEWEST_VALUES
            )
            compress = coreml.palettize_weights
        else:
            how = coreml.OpLinearQuantizerConfig(
                mode="linear_symmetric", weight_threshold=_FEWEST_VALUES
            )
            compress = coreml.linear_quantize_weights
        rows = {"gather": None}
        return compress(model, coreml.OptimizationConfig(global_config=how, op_type_configs=rows))
