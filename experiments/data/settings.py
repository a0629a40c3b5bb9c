"""How captioned pictures are read, where their source leaves a choice."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ReadingSettings(BaseModel):
    """What a source of captioned pictures does not tell by itself.

    Attributes:
        image_column: the pictures' column of a saved dataset; the only one of pictures by default.
        caption_column: the captions' column of a saved dataset, or their key in metadata and JSON
            files; ``text`` or ``caption`` by default.
        shuffle_buffer: samples of tar shards that are held in memory, encoded as they were read,
            to be drawn from; 1 leaves each shard's order as it is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_column: str | None = None
    caption_column: str | None = None
    shuffle_buffer: int = Field(1000, ge=1)
