"""Datasets that Hugging Face's ``datasets`` saved on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.data.extra import datasets
from experiments.data.source import (
    CAPTION_NAMES,
    CaptionedPicture,
    DataError,
    IndexedSource,
    as_captions,
)


class SavedDataset(IndexedSource):
    """What ``Dataset.save_to_disk`` wrote; its columns are found by the types of their features.

    A column of captions is of texts or of lists of texts.

    Raises:
        DataError: if the dataset is damaged, or a column is missing or ambiguous.
    """

    def __init__(
        self, folder: Path, image_column: str | None = None, caption_column: str | None = None
    ) -> None:
        library = datasets()
        library.disable_progress_bars()
        self.folder = folder
        try:
            dataset = library.load_from_disk(str(folder))
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(
                f"{folder}: cannot be read as a saved dataset ({reason}); save it again"
            ) from error
        if isinstance(dataset, library.DatasetDict):
            splits = " or ".join(str(folder / name) for name in dataset)
            raise DataError(f"{folder}: holds several splits; name one of them: {splits}")
        self.digest: str = dataset._fingerprint
        features = dataset.features
        images = [name for name in features if isinstance(features[name], library.Image)]
        texts = [name for name in features if _is_text(features[name])]
        self._image = _choose(folder, "image_column", image_column, images, (), features)
        self._caption = _choose(
            folder, "caption_column", caption_column, texts, CAPTION_NAMES, features
        )
        # As they were stored: decoding is for the rows that are used.
        self._rows = dataset.select_columns([self._image, self._caption]).cast_column(
            self._image, library.Image(decode=False)
        )

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> CaptionedPicture:
        row, name = self._rows[index], f"{self.folder}, row {index}"
        image = row[self._image]
        if image is None or image["bytes"] is None:
            raise DataError(f"{name}: holds no picture; save the dataset without such rows")
        return CaptionedPicture(name, image["bytes"], as_captions(row[self._caption], name))


def _is_text(feature: Any) -> bool:
    item = feature[0] if isinstance(feature, list) else getattr(feature, "feature", feature)
    return getattr(item, "dtype", None) in ("string", "large_string")


def _choose(
    folder: Path,
    setting: str,
    asked: str | None,
    fitting: list[str],
    usual: tuple[str, ...],
    features: dict[str, Any],
) -> str:
    """The column asked for, or the one of those that fit which is called as usual or is alone."""
    if asked is not None:
        if asked not in fitting:
            raise DataError(
                f"{folder}: has no fitting column '{asked}', only {', '.join(features)}; "
                f"set {setting} to {' or '.join(fitting) or 'one after adding it'}"
            )
        return asked
    candidates = [name for name in usual if name in fitting][:1] or fitting
    if len(candidates) == 1:
        return candidates[0]
    found = f"several ({', '.join(candidates)})" if candidates else "none"
    raise DataError(
        f"{folder}: {setting} is not clear, {found} of its columns {', '.join(features)} may be "
        f"it; " + (f"set {setting}" if candidates else "add one")
    )
