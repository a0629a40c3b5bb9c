"""What a search does at this moment, for those who look into its run folder meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError
from rich.console import Console

from experiments.progress import OnProgress, track
from experiments.run_folder import RunFolder, RunFolderError
from search.state import write_atomically

Status = Literal["finished", "running", "stopped"]

_WRITE_EVERY_S = 1.0
_SILENT_S = 20.0  # of a search that is not there any more; its clock may be another machine's


class Racing(BaseModel):
    """How far a race is; see :class:`search.race.Race`.

    Attributes:
        open: actions that are judged further.
        decided: that are not, for the time being.
        prompts: that the open ones are judged on next.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    open: int
    decided: int
    prompts: int


class Live(BaseModel):
    """A search at a moment.

    Attributes:
        updated: seconds since 1970.
        ended: whether it has come to its end, or was interrupted in an orderly way.
        round: that is decided on, or trained for.
        doing: for people, as progress displays say it; empty between two of them.
        done: units of that.
        total: likewise, about.
        left_s: seconds that it will still take at its pace so far; None where nobody knows.
        racing: the race that goes on, if one does.
        workers: evaluators that are ready.
        wanted: evaluators that there should be.
        pictures: drawn since the search was started, or resumed.
        pictures_per_s: since it does what it is doing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    updated: float
    ended: bool
    round: int
    doing: str
    done: int
    total: int
    left_s: float | None
    racing: Racing | None
    workers: int
    wanted: int
    pictures: int
    pictures_per_s: float


def load_live(path: Path) -> Live | None:
    """What a search said last; None if it has not said anything yet.

    Raises:
        RunFolderError: if the file is damaged.
    """
    try:
        return Live.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (UnicodeDecodeError, ValidationError) as error:
        raise RunFolderError(f"{path}: damaged; delete it, and a search writes it anew") from error


def status_of(run: RunFolder, live: Live | None, now: float | None = None) -> Status:
    """Whether a search is there, by what it has left; its lock is not touched.

    A search that was killed still seems to run for some seconds.
    """
    if run.result.exists():
        return "finished"
    if live is None or live.ended:
        return "stopped"
    now = time.time() if now is None else now
    return "running" if now - live.updated < _SILENT_S else "stopped"


def running(run: RunFolder) -> Live | None:
    """What a search does at the moment; None if it is not there.

    Raises:
        RunFolderError: see :func:`load_live`.
    """
    live = load_live(run.live)
    return live if status_of(run, live) == "running" else None


class Pool(Protocol):
    """Who draws, as :class:`evaluators.pool.EvaluatorPool` does."""

    @property
    def workers(self) -> int: ...

    @property
    def alive(self) -> int: ...

    @property
    def drawn(self) -> int: ...


@dataclass(frozen=True)
class _Activity:
    """What goes on: one value, so that the writing thread never sees half of a change.

    Attributes:
        doing, done, total, racing: see :class:`Live`.
        since: moment of its beginning.
        drawn: pictures before it.
    """

    doing: str = ""
    done: int = 0
    total: int = 0
    since: float = 0.0
    drawn: int = 0
    racing: Racing | None = None


class LiveLog:
    """Keeps ``live.json`` while it is entered, by a thread that writes about once a second.

    Args:
        path: of the file.
        console: where progress is shown.
        pool: who draws.
        round_: that the search is in.
        now: seconds since 1970.
    """

    def __init__(
        self,
        path: Path,
        console: Console,
        pool: Pool,
        round_: int,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self.console = console
        self.pool = pool
        self.round = round_
        self.now = now
        self._activity = _Activity()
        self._over = threading.Event()
        self._writer = threading.Thread(target=self._keep_writing, daemon=True)

    def __enter__(self) -> LiveLog:
        self._writer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._writer.join()
        self._activity = _Activity()
        self.write()

    @contextmanager
    def track(self, description: str, total: int) -> Iterator[OnProgress]:
        """A progress display that ``live.json`` follows; see :func:`experiments.progress.track`."""
        begun = _Activity(description, 0, total, self.now(), self.pool.drawn)
        self._activity = begun
        with track(self.console, description, total) as told:

            def on_progress(done: int, figures: dict[str, float]) -> None:
                racing = self._activity.racing
                if Racing.model_fields.keys() <= figures.keys():
                    racing = Racing(**{name: int(figures[name]) for name in Racing.model_fields})
                self._activity = replace(begun, done=done, racing=racing)
                told(done, figures)

            try:
                yield on_progress
            finally:
                self._activity = _Activity(since=self.now(), drawn=self.pool.drawn)

    def write(self) -> None:
        """Say what goes on now."""
        write_atomically(self.path, self.live().model_dump_json(indent=1) + "\n")

    def live(self) -> Live:
        activity, now, drawn = self._activity, self.now(), self.pool.drawn
        seconds = now - activity.since
        left = max(0, activity.total - activity.done)
        return Live(
            updated=round(now, 3),
            ended=self._over.is_set(),
            round=self.round,
            doing=activity.doing,
            done=activity.done,
            total=activity.total,
            left_s=round(seconds / activity.done * left, 1) if activity.done else None,
            racing=activity.racing,
            workers=self.pool.alive,
            wanted=self.pool.workers,
            pictures=drawn,
            pictures_per_s=round((drawn - activity.drawn) / seconds, 3) if seconds > 0 else 0.0,
        )

    def _keep_writing(self) -> None:
        while not self._over.is_set():
            self.write()
            self._over.wait(_WRITE_EVERY_S)
