"""All scorers that an experiment can name."""

from __future__ import annotations

from typing import Annotated

from pydantic import Tag

from evaluators.scorers.caption_accuracy import CaptionAccuracy
from evaluators.scorers.clip import ClipModel
from evaluators.scorers.kind import BY_KIND
from evaluators.scorers.mix import Mix
from evaluators.scorers.transformers_model import TransformersModel

# Settings are told apart by ``kind``. Each has ``open(prompts, device)``, which gives its Scorer,
# ``encoder(device)``, whose embeddings FID and KID may go by, and for people a ``title`` and the
# ``judge``'s name.
ScorerSettings = Annotated[
    Annotated[ClipModel, Tag("clip")]
    | Annotated[TransformersModel, Tag("transformers")]
    | Annotated[CaptionAccuracy, Tag("caption_accuracy")]
    | Annotated[Mix, Tag("mix")],
    BY_KIND,
]
