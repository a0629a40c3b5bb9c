"""What a job is asked to do."""

from __future__ import annotations

from enum import Enum


class Work(str, Enum):
    """What a job does with its experiment: the command of evounet that is called on the head."""

    SEARCH = "search"
    SWEEP = "sweep"
    RUN = "run"
