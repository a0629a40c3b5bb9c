"""Another target from recorded scores: kept, hardly worse than measured, and honest about doubt."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from test_strategies import BLOCKS, GOALS, TOGETHER, optimum, score
from toy_runs import BASE_MS, FULL, LATENCY, search

from evaluators.job import Job, Scores
from search.demands import Demands
from search.foretelling import RecordedScores, foretell
from search.store import EvaluationStore
from supernet.architecture import Architecture


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[Architecture, Scores]:
    """Of a search to the middle of the goals."""
    store = EvaluationStore(None, "toy")
    folder = tmp_path_factory.mktemp("search")
    run = search(folder, TOGETHER, target_ms=GOALS[1], rounds=1, refine=24, store=store)
    run.run()
    return store.recorded(run.told[0].weights, FULL)["toy"]


@pytest.mark.parametrize("goal_ms", GOALS)
def test_a_target_is_kept_at_little_loss(
    recorded: dict[Architecture, Scores], goal_ms: float
) -> None:
    found = foretell(FULL, recorded, Demands(LATENCY, goal_ms))
    assert LATENCY(found.after) <= goal_ms
    best, base = optimum(TOGETHER, goal_ms), score(TOGETHER, FULL)
    assert score(TOGETHER, found.after) > best - 0.1 * (base - best)
    # Rounds add the same to all scores.
    gap = score(TOGETHER, found.after) - base - (found.clip_after - found.clip_before)
    assert abs(gap) < 4 * found.doubt
    assert found == foretell(FULL, recorded, Demands(LATENCY, goal_ms))


def test_the_base_is_no_guess(recorded: dict[Architecture, Scores]) -> None:
    found = foretell(FULL, recorded, Demands(LATENCY, BASE_MS))
    assert found.after == FULL
    assert (found.clip_after, found.doubt) == (found.clip_before, 0.0)


def test_what_is_unlike_all_that_was_scored_is_in_doubt(
    recorded: dict[Architecture, Scores],
) -> None:
    scores = RecordedScores(FULL, recorded, caution=1.0)
    known = next(each for each in recorded if each.removed)
    _, (of_known, of_nothing_left) = scores.foretold([known, FULL.without(BLOCKS)])
    assert of_known < 0.2 * of_nothing_left


def test_additions_and_further_judges_do_not_matter(recorded: dict[Architecture, Scores]) -> None:
    more = {each: replace(scores, second=scores.first) for each, scores in recorded.items()}
    more[FULL.with_multiplicity(BLOCKS[0], 2)] = Scores((9.0,) * 4)
    demands = Demands(LATENCY, GOALS[0])
    assert foretell(FULL, more, demands) == foretell(FULL, recorded, demands)


def test_too_little_is_refused(recorded: dict[Architecture, Scores]) -> None:
    few = dict(itertools.islice(recorded.items(), 3)) | {FULL: recorded[FULL]}
    with pytest.raises(ValueError, match="architectures are scored yet; search first"):
        foretell(FULL, few, Demands(LATENCY, GOALS[0]))


def test_a_store_gives_back_what_it_was_told_by_weights_and_conditions(tmp_path: Path) -> None:
    path = tmp_path / "evaluations.db"
    without = FULL.without(BLOCKS[:2])
    for conditions in ("one", "other"):
        store = EvaluationStore(path, conditions)
        store.add(Job(without, range(2)), "weights", Scores((0.25, 0.5)), 3.0, 1)
        store.add(Job(FULL, range(2)), "others", Scores((0.5, 0.5)), 4.0, 1)
    expected = {without: Scores((0.25, 0.5))}
    again = EvaluationStore(path, "")
    assert again.recorded("weights", FULL) == {"one": expected, "other": expected}
    assert store.recorded("others", FULL)["other"] == {FULL: Scores((0.5, 0.5))}
