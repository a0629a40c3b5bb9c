"""Evaluations are read beside a search: all that it knows, and nothing is written or held up."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from statistics import fmean

import pytest
from toy_runs import FULL, LATENCY, TRUTH, search

from evaluators.job import Job, Scores
from search.recorded_evaluations import EvaluationReadError, RecordedEvaluations, counts_of
from search.repricing import repriced
from search.store import EvaluationStore
from supernet.architecture import BlockId

SMALLER = FULL.without([BlockId("resnet", "mid", 0)])


def test_reads_what_the_store_keeps(tmp_path: Path) -> None:
    """What follows later, and further prompts of the same architecture, are taken in."""
    path = tmp_path / "evaluations.db"
    read = RecordedEvaluations(path, FULL)
    read.read()
    assert len(read) == 0
    store = EvaluationStore(path, "toy")
    store.add(Job(SMALLER, range(2)), "w1", Scores((0.1, 0.2)), 1.0, 1)
    read.read()
    [first] = read
    assert (first.architecture, first.weights, first.round) == (SMALLER.id, "w1", 1)
    assert (first.clip, first.prompts) == (fmean((0.1, 0.2)), 2)
    assert read.architecture(first) == SMALLER
    store.add(Job(SMALLER, range(2, 3)), "w1", Scores((0.6,)), 1.0, 1)
    store.add(Job(FULL, range(3)), "w2", Scores((0.5, 0.5, 0.5)), 2.0, 2)
    read.read()
    smaller, full = read
    assert (smaller.clip, smaller.prompts) == (pytest.approx(0.3), 3)
    assert read.architecture(full) == FULL


def test_a_run_that_was_written_over_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "evaluations.db"
    EvaluationStore(path, "toy").add(Job(SMALLER, range(1)), "w1", Scores((0.1,)), 1.0, 1)
    read = RecordedEvaluations(path, FULL)
    read.read()
    path.unlink()
    EvaluationStore(path, "toy").add(Job(FULL, range(1)), "w1", Scores((0.1,)), 1.0, 1)
    read.read()
    assert [read.architecture(each) for each in read] == [FULL]


def test_a_search_is_not_held_up(tmp_path: Path) -> None:
    """While another process writes, what is known stays; afterwards all is there."""
    path = tmp_path / "evaluations.db"
    store = EvaluationStore(path, "toy")
    read = RecordedEvaluations(path, FULL)
    with sqlite3.connect(path, isolation_level=None) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        read.read()
        assert len(read) == 0
        writer.execute("COMMIT")
    store.add(Job(SMALLER, range(1)), "w1", Scores((0.1,)), 1.0, 1)
    read.read()
    assert len(read) == 1


def test_says_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "evaluations.db"
    path.write_text("this is no storage of anything, whatever its name says")
    with pytest.raises(EvaluationReadError, match=r"evaluations\.db: cannot be read"):
        RecordedEvaluations(path, FULL).read()


def test_many_are_priced_at_once_as_one_by_one(tmp_path: Path) -> None:
    store = EvaluationStore(tmp_path / "evaluations.db", "toy")
    toy = search(tmp_path, TRUTH, store=store, rounds=2)
    toy.run()
    read = RecordedEvaluations(tmp_path / "evaluations.db", FULL)
    read.read()
    found = list(read)
    ms = LATENCY.of_counts(counts_of(found, list(FULL)))
    assert ms.tolist() == [LATENCY(read.architecture(each)) for each in found]


def test_decisions_keep_their_prices_by_their_own_table(tmp_path: Path) -> None:
    toy = search(tmp_path, TRUTH, rounds=2, recheck=0)
    toy.run()
    assert toy.told
    for decision in toy.told:
        assert repriced(decision, LATENCY) == decision
        twice = repriced(decision, lambda architecture: 2 * LATENCY(architecture))
        assert twice.latency_after_ms == 2 * decision.latency_after_ms
        for before, after in zip(decision.candidates, twice.candidates, strict=True):
            assert after.delta_latency_ms == 2 * before.delta_latency_ms
            assert after.clip == before.clip
