"""How much memory something takes: its peak in a process of its own."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Answer = TypeVar("Answer")

_UNITS_PER_GIB = 2**30 if sys.platform == "darwin" else 2**20  # getrusage: bytes there, else KiB


def with_peak_gib(
    work: Callable[Given, Answer], *args: Given.args, **kwargs: Given.kwargs
) -> tuple[Answer, float]:
    """Do something in a fresh process; its answer, and the most GiB that were resident meanwhile.

    All of the process counts, libraries and code too.

    Args:
        work: a function of a module; it, what it is given and its answer are pickled.
    """
    # Not "spawn": the peak of a process that is forked and then executes another program is at
    # least what its parent held.
    with ProcessPoolExecutor(1, mp_context=get_context("forkserver")) as process:
        return process.submit(_measured, work, args, kwargs).result()


def peak_gib() -> float:
    """The most GiB that were resident in this process since it began."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _UNITS_PER_GIB


def _measured(
    work: Callable[..., Answer], args: tuple[object, ...], kwargs: dict[str, object]
) -> tuple[Answer, float]:
    answer = work(*args, **kwargs)
    return answer, peak_gib()
