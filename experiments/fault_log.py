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
    """The events of a run in their order; none if nothing happened."""
    if not path.exists():
        return ()
    events = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue  # a line that was cut off when the driver's machine went down
        events.append(PoolEvent.from_json(value))
    return tuple(events)
