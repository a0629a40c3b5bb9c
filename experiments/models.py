"""Where models come from: the shipped ones by the name ``shapes``, others as users name them."""

from __future__ import annotations

from pathlib import Path

from evaluators.clip_score import ClipModel
from experiments.shapes.base import JUDGE, PIPELINE

SHAPES = "shapes"
SHAPES_MODELS = Path(__file__).parent / "shapes" / "models"
SUPERNET_WEIGHTS = "supernet.safetensors"


def pipeline_source(name: str) -> str:
    """The folder of the shipped pipeline for ``shapes``; a folder or Hugging Face id as it is."""
    return str(SHAPES_MODELS / PIPELINE) if name == SHAPES else name


def clip_model(model: ClipModel) -> ClipModel:
    """The shipped judge for ``shapes``; any other CLIP of open_clip as it is."""
    if model.name != SHAPES:
        return model
    return ClipModel(name=f"local-dir:{SHAPES_MODELS / JUDGE}")


def supernet_weights(name: str) -> Path:
    """The file of the shipped supernet's weights for ``shapes``; any other path as it is."""
    return SHAPES_MODELS / SUPERNET_WEIGHTS if name == SHAPES else Path(name)
