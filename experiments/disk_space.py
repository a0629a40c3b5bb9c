"""A disk that is full: what those who write to it make of it."""

from __future__ import annotations

import errno

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def lacks_space(error: Exception) -> bool:
    """Whether it says that a disk is full; safetensors, shutil and SQLite have words alone."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _NO_SPACE
    words = [f"{name} {number}" for number in _NO_SPACE for name in ("os error", "Errno")]
    return any(each in str(error) for each in (*words, "database or disk is full"))
