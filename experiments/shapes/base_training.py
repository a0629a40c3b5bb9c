"""How the models of the shapes world are trained."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from experiments.partial import filled_in
from supernet.block_dropping import BlockDropping
from supernet.training_settings import TrainingSettings

_UNET = TrainingSettings(
    steps=8000,
    batch_size=32,
    learning_rate=1.2e-3,
    warmup_steps=100,
    ema_decay=0.998,
    dropping=BlockDropping(keep_prob=(1.0, 1.0)),
)


class BaseTraining(BaseModel):
    """How the models of the world are trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pictures: int = Field(32_768, ge=1024)
    vae_steps: int = Field(1400, ge=1)
    decoder_steps: int = Field(3000, ge=1)
    vae_batch_size: int = Field(16, ge=1)
    judge_steps: int = Field(1500, ge=1)
    judge_batch_size: int = Field(96, ge=1)
    text_steps: int = Field(1200, ge=1)
    text_batch_size: int = Field(128, ge=1)
    unet: Annotated[TrainingSettings, filled_in(_UNET)] = _UNET
