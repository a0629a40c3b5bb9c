"""Taking over another run's scores: what is refused, and that nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluators.job import Job, Scores
from experiments.earlier_scores import check_earlier, take_scores
from experiments.experiment import load_experiment
from experiments.run_folder import RunFolder
from experiments.unets import choose_unet
from search.store import EvaluationStore

FULL = choose_unet("shapes").inventory.full()
DEMO = load_experiment(Path("demo"))
SCORES = Scores((0.25, 0.5), (1.0, 0.0))


@pytest.fixture
def earlier(tmp_path: Path) -> RunFolder:
    """A run whose name has what URLs use for their own."""
    run = RunFolder(tmp_path / "earlier #1")
    run.create(DEMO)
    EvaluationStore(run.evaluations, "c").add(Job(FULL, range(2)), "w", SCORES, 1.0, 1)
    return run


def test_scores_are_taken_over(earlier: RunFolder, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "new")
    check_earlier(earlier, run, DEMO)
    run.create(DEMO)
    take_scores(earlier, run)
    assert EvaluationStore(run.evaluations, "c").get(FULL, "w") == SCORES
    assert EvaluationStore(earlier.evaluations, "c").get(FULL, "w") == SCORES


def test_what_has_no_scores_to_give_is_refused(earlier: RunFolder, tmp_path: Path) -> None:
    new = RunFolder(tmp_path / "new")
    with pytest.raises(ValueError, match="cannot begin with its own scores"):
        check_earlier(earlier, RunFolder(tmp_path / "new" / ".." / "earlier #1"), DEMO)
    shared = load_experiment(Path("demo"), ["evaluation.store=scores.db"])
    with pytest.raises(ValueError, match=r"omit it, or evaluation\.store"):
        check_earlier(earlier, new, shared)
    with pytest.raises(ValueError, match="is no run folder"):
        check_earlier(new, RunFolder(tmp_path / "other"), DEMO)
    new.create(shared)
    with pytest.raises(ValueError, match=r"keeps its scores in 'scores\.db'"):
        check_earlier(new, RunFolder(tmp_path / "other"), DEMO)
    new.create(DEMO)
    with pytest.raises(ValueError, match="has no scores yet"):
        check_earlier(new, RunFolder(tmp_path / "other"), DEMO)
