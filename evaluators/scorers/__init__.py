"""How well pictures do what their prompts say: one scorer a file, all behind one protocol."""

from evaluators.scorers.caption_accuracy import CaptionAccuracy
from evaluators.scorers.clip import ClipModel
from evaluators.scorers.mix import Mix, Part
from evaluators.scorers.scorer import Scorer, check_pictures
from evaluators.scorers.settings import ScorerSettings
from evaluators.scorers.transformers_model import TransformersModel

__all__ = [
    "CaptionAccuracy",
    "ClipModel",
    "Mix",
    "Part",
    "Scorer",
    "ScorerSettings",
    "TransformersModel",
    "check_pictures",
]
