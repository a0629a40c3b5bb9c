"""A search that is stopped anywhere goes on to the same end, and asks nothing twice."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from toy_search import MemoryStore, ToySearch, toy_latency, truth_by_place

from search.settings import EvolutionSettings
from search.store import EvaluationStore

LATENCY = toy_latency()
FULL = LATENCY.inventory.full()
TRUTH = truth_by_place(LATENCY.inventory)
SETTINGS = EvolutionSettings(target_ms=0.77 * LATENCY(FULL), rounds=2)


class Killed(BaseException):
    """What no code of the search may catch."""


class Clock:
    """Counts everything that happens in a search; stops it at one of these moments."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.ticks = 0
        self.stop_at = stop_at

    def __call__(self) -> None:
        self.ticks += 1
        if self.ticks == self.stop_at:
            raise Killed


def watched_search(folder: Path, store: MemoryStore, clock: Clock) -> ToySearch:
    store.clock = clock
    return ToySearch(folder, SETTINGS, TRUTH, store=store, clock=clock)


@pytest.fixture
def watch_files(monkeypatch: pytest.MonkeyPatch):
    """Lets a clock tick before and after every file is put in its place."""
    replace = os.replace

    def watch(clock: Clock) -> None:
        def ticking(source: Path, target: Path) -> None:
            clock()
            replace(source, target)
            clock()

        monkeypatch.setattr(os, "replace", ticking)

    return watch


def outcome(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_stopped_at_any_moment_it_goes_on_to_the_same_end(tmp_path: Path, watch_files) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    clock = Clock()
    watch_files(clock)
    uninterrupted = watched_search(whole, MemoryStore(), clock)
    found = uninterrupted.run()
    assert {d.phase for d in uninterrupted.told} == {"remove", "add"}
    assert clock.ticks > 60
    for moment in range(1, clock.ticks + 1):
        folder = tmp_path / str(moment)
        folder.mkdir()
        stopping = Clock(moment)
        watch_files(stopping)
        run = watched_search(folder, MemoryStore(), stopping)
        with pytest.raises(Killed):
            run.run()
        assert run.run() == found
        assert outcome(folder) == outcome(whole)
        # Scores that were known when it was stopped are not asked for again.
        assert sorted(run.evaluated) == sorted(uninterrupted.evaluated)
        # Nothing is told twice; one may go untold when its telling was stopped.
        rounds = [decision.round for decision in run.told]
        assert rounds == sorted(set(rounds))
        assert len(rounds) >= len(uninterrupted.told) - 1


def test_stopped_again_and_again_it_ends_the_same(tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    whole.mkdir()
    stopped.mkdir()
    found = watched_search(whole, MemoryStore(), Clock()).run()
    store = MemoryStore()
    stops = 0
    while True:
        try:
            again = watched_search(stopped, store, Clock(5)).run()
            break
        except Killed:
            stops += 1
    assert stops > 5
    assert again == found
    assert outcome(stopped) == outcome(whole)


def test_it_goes_on_from_its_files_alone(tmp_path: Path) -> None:
    """With the real store, opened anew as another process would."""

    def run(folder: Path, clock: Clock) -> ToySearch:
        store = EvaluationStore(folder / "evaluations.db", "toy")
        search = ToySearch(folder, SETTINGS, TRUTH, store=store, clock=clock)
        search.run()
        return search

    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    whole.mkdir()
    stopped.mkdir()
    clock = Clock()
    uninterrupted = run(whole, clock)
    with pytest.raises(Killed):
        run(stopped, Clock(clock.ticks // 2))
    resumed = run(stopped, Clock())
    assert 0 < len(resumed.evaluated) < len(uninterrupted.evaluated)
    for name in ("state.json", "decisions.jsonl"):
        assert (stopped / name).read_bytes() == (whole / name).read_bytes()
    assert len(EvaluationStore(stopped / "evaluations.db", "toy")) == len(uninterrupted.evaluated)
