"""What happened to the workers of a run, kept in its folder and said in its log."""

from __future__ import annotations

from pathlib import Path

from evaluators.pool_events import PoolEvent
from experiments.json_lines import append_line, read_lines
from experiments.run_log import RunLog


class FaultLog:
    """Says every event and appends it to ``faults.jsonl``."""

    def __init__(self, path: Path, log: RunLog) -> None:
        self.path = path
        self.log = log

    def __call__(self, event: PoolEvent) -> None:
        self.log.say(str(event))
        append_line(self.path, event.to_json())


def load_faults(path: Path) -> tuple[PoolEvent, ...]:
    """The events of a run in their order; none if nothing happened.

    Raises:
        ValueError: naming the line that is no event.
    """
    events = []
    for number, value in enumerate(read_lines(path), 1):
        try:
            events.append(PoolEvent.from_json(value))
        except ValueError as error:
            raise ValueError(f"{path}: line {number} is {error}; delete it") from error
    return tuple(events)
