"""Where models come from: the shipped ones by the name ``shapes``, others as users name them."""

from __future__ import annotations

from pathlib import Path

from evaluators.scorers import CaptionAccuracy, ClipModel, Mix, ScorerSettings
from evaluators.scorers.mix import PartSettings
from experiments.shapes.base import JUDGE, PIPELINE

SHAPES = "shapes"
SHAPES_MODELS = Path(__file__).parent / "shapes" / "models"
SUPERNET_WEIGHTS = "supernet.safetensors"
SHAPES_DECODER = SHAPES_MODELS / "decoder"  # an autoencoder with an efficient one


def pipeline_source(name: str) -> str:
    """The folder of the shipped pipeline for ``shapes``; a folder or Hugging Face id as it is."""
    return str(SHAPES_MODELS / PIPELINE) if name == SHAPES else name


def scorer_settings(settings: ScorerSettings) -> ScorerSettings:
    """With the shipped CLIP where a scorer's is ``shapes``; all else as it is."""
    if not isinstance(settings, Mix):
        return _with_shipped_clip(settings)
    parts = (
        part.model_copy(update={"scorer": _with_shipped_clip(part.scorer)})
        for part in settings.parts
    )
    return settings.model_copy(update={"parts": tuple(parts)})


def _with_shipped_clip(settings: PartSettings) -> PartSettings:
    if settings.name != SHAPES or not isinstance(settings, ClipModel | CaptionAccuracy):
        return settings
    return settings.model_copy(update={"name": f"local-dir:{SHAPES_MODELS / JUDGE}"})


def supernet_weights(name: str) -> Path:
    """The file of the shipped supernet's weights for ``shapes``; any other path as it is."""
    return SHAPES_MODELS / SUPERNET_WEIGHTS if name == SHAPES else Path(name)
