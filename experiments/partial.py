"""Tables of an experiment file that say less than everything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, BeforeValidator


def filled_in(default: BaseModel) -> BeforeValidator:
    """For a field whose default is not that of its class: what a table leaves out is as there.

    Without it ``--set base.unet.steps=100`` would change all other settings of that training too.

    Args:
        default: of the field.
    """
    values = default.model_dump()
    return BeforeValidator(lambda given: _merged(values, given))


def _merged(default: Any, given: Any) -> Any:
    if not isinstance(default, Mapping) or not isinstance(given, Mapping):
        return given
    return {**default, **{name: _merged(default.get(name), each) for name, each in given.items()}}
