"""What an experiment says of its training data."""

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


class DataSettings(BaseModel):
    """What a UNet is trained on.

    Attributes:
        data: ``shapes``, or captioned pictures or a cache of them (docs/training_data.md).
        reading: how they are read, where that is not clear.
        pictures: how many pictures of the shapes world; of other data it is all.
        caption_dropout: share of captions replaced by the empty one, in [0, 1). A guided prediction
            w v(c) - (w - 1) v(empty) has nearly as much of the one as of the other, so a short
            training may want more than the usual tenth.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str = "shapes"
    reading: ReadingSettings = ReadingSettings()
    pictures: int = Field(4096, ge=64)
    caption_dropout: float = Field(0.1, ge=0, lt=1)
