"""Killed without warning, again and again: the search ends as if nothing had happened."""

from __future__ import annotations

import multiprocessing
import random
import time
from pathlib import Path

import pytest
from toy_runs import BASE_MS, TRUTH
from toy_search import ToySearch

from search.settings import EvolutionSettings
from search.store import EvaluationStore

KILLS = 20
SETTINGS = EvolutionSettings(target_ms=0.77 * BASE_MS, rounds=3)
# Each search is a process of its own, without its imports taking most of its time.
PROCESSES = multiprocessing.get_context("fork")


def run(folder: Path) -> None:
    store = EvaluationStore(folder / "evaluations.db", "toy")
    ToySearch(folder, SETTINGS, TRUTH, store=store).run()
    (folder / "done").touch()


def start(folder: Path) -> multiprocessing.process.BaseProcess:
    folder.mkdir(exist_ok=True)
    process = PROCESSES.Process(target=run, args=(folder,))
    process.start()
    return process


def outcome(folder: Path) -> tuple[bytes, bytes, int]:
    """What there is at the end; scores are stored once."""
    evaluated = len(EvaluationStore(folder / "evaluations.db", "toy")._study.trials)
    return (
        (folder / "state.json").read_bytes(),
        (folder / "decisions.jsonl").read_bytes(),
        evaluated,
    )


@pytest.mark.slow
def test_killed_at_random_moments_it_comes_to_the_same_end(tmp_path: Path) -> None:
    begun = time.monotonic()
    start(tmp_path / "whole").join()
    took = time.monotonic() - begun
    expected = outcome(tmp_path / "whole")
    moments = random.Random(0)
    kills, begun_anew = 0, 0
    while kills < KILLS:
        folder = tmp_path / str(begun_anew)
        process = start(folder)
        process.join(moments.uniform(0, took))
        if process.is_alive():
            process.kill()
            process.join()
            kills += 1
        if (folder / "done").exists():
            assert outcome(folder) == expected
            begun_anew += 1
    last = tmp_path / str(begun_anew)
    start(last).join()
    assert outcome(last) == expected
