"""How settings tell which scorer they are of: by ``kind``, which is ``clip`` unless given."""

from __future__ import annotations

from typing import Any

from pydantic import Discriminator


def _kind(value: Any) -> Any:
    return value.get("kind", "clip") if isinstance(value, dict) else getattr(value, "kind", None)


BY_KIND = Discriminator(
    _kind,
    custom_error_type="scorer_kind",
    custom_error_message=(
        "write a scorer as { kind = ..., name = ... }; kinds are clip (the default), transformers, "
        "caption_accuracy and, outside of a mix, mix"
    ),
)
