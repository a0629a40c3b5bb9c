"""What a search says of itself while it runs, and whether it is still there."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from experiments.live import Live, LiveLog, Racing, load_live, status_of
from experiments.run_folder import RunFolder, RunFolderError


@dataclass
class ToyPool:
    workers: int = 4
    alive: int = 3
    drawn: int = 100


@dataclass
class Clock:
    seconds: float = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def pool() -> ToyPool:
    return ToyPool()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(tmp_path: Path, pool: ToyPool, clock: Clock) -> LiveLog:
    return LiveLog(tmp_path / "live.json", Console(quiet=True), pool, round_=2, now=clock)


def written(log: LiveLog) -> Live:
    log.write()
    live = load_live(log.path)
    assert live is not None
    return live


def test_a_race_and_its_pace_are_told(log: LiveLog, pool: ToyPool, clock: Clock) -> None:
    with log.track("round 2: architectures, about", 40) as on_progress:
        clock.seconds, pool.drawn = 1_020.0, 180
        on_progress(5, {"open": 12, "decided": 26, "prompts": 48})
        on_progress(10, {"CLIP": 0.25})
        live = written(log)
    assert (live.round, live.doing) == (2, "round 2: architectures, about")
    assert (live.done, live.total, live.left_s) == (10, 40, 60.0)
    assert live.racing == Racing(open=12, decided=26, prompts=48)
    assert (live.workers, live.wanted) == (3, 4)
    assert (live.pictures, live.pictures_per_s) == (180, 4.0)
    assert live.updated == 1_020.0


def test_what_was_done_before_says_nothing_of_what_is_done_now(
    log: LiveLog, pool: ToyPool, clock: Clock
) -> None:
    with log.track("round 2: architectures, about", 40) as on_progress:
        pool.drawn = 500
        on_progress(40, {"open": 12, "decided": 26, "prompts": 48})
    clock.seconds = 1_100.0
    with log.track("final: training", 300):
        live = written(log)
    assert (live.doing, live.done, live.left_s, live.racing) == ("final: training", 0, None, None)
    assert live.pictures_per_s == 0
    assert written(log).doing == ""


def test_it_is_written_by_itself_and_at_the_end(tmp_path: Path, pool: ToyPool) -> None:
    path = tmp_path / "live.json"
    with LiveLog(path, Console(quiet=True), pool, 1):
        end = time.monotonic() + 10
        while load_live(path) is None and time.monotonic() < end:
            time.sleep(0.01)
        live = load_live(path)
        assert live is not None
        assert not live.ended
    live = load_live(path)
    assert live is not None
    assert live.ended
    assert [each.name for each in tmp_path.iterdir()] == ["live.json"]


def test_whether_a_search_is_there(tmp_path: Path, log: LiveLog) -> None:
    run = RunFolder(tmp_path)
    assert status_of(run, None) == "stopped"
    live = written(log)
    assert status_of(run, live, now=1_005.0) == "running"
    assert status_of(run, live, now=995.0) == "running"  # another machine's clock is behind
    assert status_of(run, live, now=1_060.0) == "stopped"
    assert status_of(run, live.model_copy(update={"ended": True}), now=1_001.0) == "stopped"
    run.result.write_text("{}")
    assert status_of(run, live, now=1_005.0) == "finished"


def test_damage_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "live.json"
    assert load_live(path) is None
    path.write_text('{"updated": 1')
    with pytest.raises(RunFolderError, match=r"live.json: damaged; delete it"):
        load_live(path)
