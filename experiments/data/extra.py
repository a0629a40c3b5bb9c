"""Libraries of the extra ``data``, imported when a source needs them."""

from __future__ import annotations

import importlib
from typing import Any

from experiments.data.source import DataError


def datasets() -> Any:
    """Hugging Face's ``datasets``."""
    return _imported("datasets")


def webdataset() -> Any:
    """``webdataset``'s reader of tar files, and ``braceexpand`` by the name that it has there."""
    return _imported("webdataset.tariterators")


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        library = name.partition(".")[0]
        raise DataError(
            f"{library} is not installed, which this training data needs: pip install evounet[data]"
        ) from error
