"""Fronts: what is not beaten, and the file that keeps it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_runs import BASE_MS, FULL, LATENCY, TRUTH, search

from search.front import Front, FrontPoint, not_beaten
from search.state import StateError

BLOCKS = list(FULL)
FRONT = Front(
    2,
    "weights",
    0.5,
    (
        FrontPoint(FULL.without(BLOCKS[:3]), 12.5, 0.25),
        FrontPoint(FULL.with_multiplicity(BLOCKS[4], 2), 40.0, 0.51),
    ),
)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=9))
def test_not_beaten_is_what_the_definition_says(points: list[tuple[int, int]]) -> None:
    every = [FULL.without(BLOCKS[:i]) for i in range(len(points))]
    ms = {each: float(fast) for each, (fast, _) in zip(every, points, strict=True)}
    scores = {each: float(good) for each, (_, good) in zip(every, points, strict=True)}
    found = not_beaten(scores, ms)
    for each in every:
        beaten = any(
            ms[o] <= ms[each]
            and scores[o] >= scores[each]
            and (ms[o], scores[o]) != (ms[each], scores[each])
            for o in every
        )
        same = [o for o in found if (ms[o], scores[o]) == (ms[each], scores[each])]
        assert len(same) == (0 if beaten else 1)
    assert [ms[each] for each in found] == sorted({ms[each] for each in found})


def test_a_front_is_read_as_it_was_written(tmp_path: Path) -> None:
    FRONT.save(tmp_path / "front.json")
    assert Front.load(tmp_path / "front.json", FULL) == FRONT


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda value: value | {"version": 9}, "version 9, this evounet reads 1"),
        (lambda value: {}, "no front can be read"),
        (lambda value: value | {"points": [{"blocks": {"nose 1/1": 0}}]}, "no front can be read"),
        (lambda value: [], "no front can be read"),
    ],
)
def test_a_front_that_cannot_be_read_is_refused(tmp_path: Path, change, message: str) -> None:
    path = tmp_path / "front.json"
    FRONT.save(path)
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(StateError, match=message):
        Front.load(path, FULL)
    path.unlink()
    with pytest.raises(StateError, match=r"front\.json: no front can be read"):
        Front.load(path, FULL)


def test_a_search_delivers_the_front_past_its_target(tmp_path: Path) -> None:
    run = search(tmp_path, TRUTH, target_ms=0.8 * BASE_MS, rounds=1, grow=False, evaluations=60)
    run.run()
    front = run.evolution.front()
    assert front.points[0].latency_ms == LATENCY(LATENCY.fastest()) < 0.8 * BASE_MS
    assert front.points[-1].clip >= front.base_clip
    scores = [point.clip for point in front.points]
    assert scores == sorted(scores)
    assert all(point.latency_ms == LATENCY(point.architecture) for point in front.points)
    assert len(front.points) > 8
    assert run.evolution.front() == front
