"""What happened to the workers of a run, kept in its folder and said in its log."""

from __future__ import annotations

import json
from pathlib import Path

from evaluators.pool_events import PoolEvent
from experiments.run_log import RunLog


class FaultLog:
    """Says every event and appends it to ``faults.jsonl``."""

    def __init__(self, path: Path, log: RunLog) -> None:
        self.path = path
        self.log = log

    def __call__(self, event: PoolEvent) -> None:
        self.log.say(str(event))
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event.to_json()) + "\n")


def load_faults(path: Path) -> tuple[PoolEvent, ...]:
    """The events of a run in their order; none if nothing happened.

    Raises:
        ValueError: naming the line that is no event.
    """
    if not path.exists():
        return ()
    events = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            value = json.loads(line)
        except ValueError:
            continue  # a line that was cut off when the driver's machine went down
        try:
            events.append(PoolEvent.from_json(value))
        except ValueError as error:
            raise ValueError(f"{path}: line {number} is {error}; delete it") from error
    return tuple(events)
