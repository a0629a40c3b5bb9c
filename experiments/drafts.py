"""Files and folders that appear under their name only when they are whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path


def publish(out: Path, write: Callable[[Path], object]) -> None:
    """Write beside ``out`` and rename, so that half of it never bears the name.

    Args:
        out: a file or folder; what bears the name goes.
        write: is given the place to write to.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.draft")
    _remove(draft)
    try:
        write(draft)
        _remove(out)
        draft.rename(out)
    finally:
        _remove(draft)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
