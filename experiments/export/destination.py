"""Where an export goes: a place that is free, and that holds all of it or nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from experiments.disk_space import lacks_space
from experiments.drafts import publish


class ExportError(ValueError):
    """A place that an export cannot be written to, or something that cannot be exported."""


def check_free(out: Path, overwrite: bool) -> None:
    """See that an export may be written to ``out``, before anything is worked out for it.

    Raises:
        ExportError: if something is there that is not to be overwritten.
    """
    if out.exists() and not overwrite:
        raise ExportError(f"{out}: already there; give another --out or --overwrite")


def write_out(out: Path, overwrite: bool, write: Callable[[Path], object]) -> None:
    """Write a file or folder that bears the name ``out`` only when it is whole.

    Args:
        out: where it goes.
        overwrite: whether what is there already may go.
        write: is given the place to write to.

    Raises:
        ExportError: if something is there already, or there is no space left for it.
    """
    check_free(out, overwrite)
    try:
        publish(out, write)
    except (OSError, SafetensorError) as error:
        if not lacks_space(error):
            raise
        raise ExportError(
            f"{out}: no space left on its disk, nothing was written; make room or give an --out "
            "on another"
        ) from error
