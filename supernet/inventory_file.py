"""An inventory as a file, for those who ask what a UNet consists of and have not got torch."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from latency_tables.parsing import parse_json
from supernet.parts import Inventory

INVENTORY_VERSION = 1

_ADAPTER = TypeAdapter(Inventory)


class InventoryFileError(ValueError):
    """A file that holds no inventory that can be read."""


def inventory_text(inventory: Inventory) -> str:
    """JSON of an inventory, with its version."""
    value = {"version": INVENTORY_VERSION, **_ADAPTER.dump_python(inventory, mode="json")}
    return json.dumps(value) + "\n"


def load_inventory(path: Path) -> Inventory:
    """The inventory that :func:`inventory_text` has written.

    Raises:
        InventoryFileError: naming the file and what is wrong with it.
    """
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
        version = value.pop("version")
    except (OSError, ValueError, AttributeError, KeyError) as error:
        raise InventoryFileError(f"{path}: is no inventory ({error!r})") from error
    if version != INVENTORY_VERSION:
        raise InventoryFileError(
            f"{path}: version {version!r}, this evounet reads {INVENTORY_VERSION}; use the "
            "evounet that wrote it"
        )
    try:
        return _ADAPTER.validate_python(value, strict=False)
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(str(part) for part in problem["loc"])
        raise InventoryFileError(f"{path}: field {field!r}: {problem['msg']}") from error
