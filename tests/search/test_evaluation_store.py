"""The store of evaluations: kept in an Optuna storage, found again, never twice."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import optuna
import pytest
from toy_search import toy_inventory

from evaluators.job import Job, Scores
from search.store import EvaluationStore, StoreError
from supernet.architecture import Architecture, BlockId

FULL = toy_inventory().full()
SMALLER = FULL.without([BlockId("resnet", "mid", 0)])
SCORES = Scores((0.1, 1 / 3, 0.7000000000000001), (1.0, 0.0, 1.0))
NONE = Scores(())


def some(architecture: Architecture, first: int = 0, last: int = 3) -> Job:
    return Job(architecture, range(first, last))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage with one evaluation."""
    path = tmp_path_factory.mktemp("run") / "evaluations.db"
    EvaluationStore(path, "24 prompts").add(some(SMALLER), "w1", SCORES, 12.5, 2)
    return path


def test_scores_are_found_again_exactly(path: Path) -> None:
    store = EvaluationStore(path, "24 prompts")
    assert len(store) == 1
    assert store.get(SMALLER, "w1") == SCORES


@pytest.mark.parametrize(
    ("architecture", "weights", "conditions"),
    [(FULL, "w1", "24 prompts"), (SMALLER, "w2", "24 prompts"), (SMALLER, "w1", "other noise")],
)
def test_scores_are_facts_of_one_architecture_weights_and_conditions(
    path: Path, architecture: Architecture, weights: str, conditions: str
) -> None:
    assert EvaluationStore(path, conditions).get(architecture, weights) == NONE


def test_nothing_is_kept_twice(path: Path) -> None:
    store = EvaluationStore(path, "24 prompts")
    store.add(some(SMALLER), "w1", Scores((0.0, 0.0, 0.0)), 1.0, 3)
    assert store.get(SMALLER, "w1") == SCORES
    assert len(optuna.load_study(study_name=None, storage=f"sqlite:///{path}").trials) == 1


def test_prompts_that_follow_are_put_behind(tmp_path: Path) -> None:
    """What a race adds; what does not follow on what is there says nothing."""
    place, more = tmp_path / "evaluations.db", Scores((0.2, 0.4), (0.0, 1.0))
    store = EvaluationStore(place, "5 prompts")
    store.add(some(FULL), "w1", SCORES, 12.5, 1)
    store.add(some(FULL, 3, 5), "w1", more, 12.5, 1)
    store.add(some(FULL, 9, 11), "w1", more, 12.5, 1)
    again = EvaluationStore(place, "5 prompts").get(FULL, "w1")
    assert again == store.get(FULL, "w1") == SCORES + more
    assert again[3:] == more


@pytest.mark.parametrize("name", ["what?", "run #2, 100 %", "a%3Fb", "größer = besser", "x:y@z"])
def test_any_folder_name_will_do(tmp_path: Path, name: str) -> None:
    path = tmp_path / name / "evaluations.db"
    path.parent.mkdir()
    EvaluationStore(path, "3 prompts").add(some(FULL), "w1", SCORES, 12.5, 1)
    assert EvaluationStore(path, "3 prompts").get(FULL, "w1") == SCORES
    assert {each.name for each in tmp_path.rglob("*")} == {name, path.name}


def test_optuna_reads_it_in_another_process(path: Path) -> None:
    """As optuna-dashboard and pandas do."""
    script = f"""
import optuna
study = optuna.load_study(study_name="evounet", storage="sqlite:///{path}")
[trial] = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
assert trial.values == [sum({SCORES.first}) / 3, 12.5], trial.values
assert study.metric_names == ["CLIP score", "latency (ms)"]
assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE"]
assert trial.params["resnet mid/0"] == 0
assert sum(trial.params.values()) == len(trial.params) - 1 == {len(FULL.blocks) - 1}
assert trial.user_attrs == {{
    "architecture": "{SMALLER.id}", "weights": "w1", "conditions": "24 prompts",
    "round": 2, "first_prompt": 0,
    "clip_scores": {list(SCORES.first)}, "second_scores": {list(SCORES.second)},
}}, trial.user_attrs
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True)


def test_opening_warns_of_nothing(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        EvaluationStore(path, "24 prompts")


@pytest.mark.parametrize("keep", [0.5, 0.0])
def test_a_damaged_storage_is_refused_in_one_line(tmp_path: Path, path: Path, keep: float) -> None:
    damaged = tmp_path / "evaluations.db"
    whole = path.read_bytes()
    damaged.write_bytes(whole[: int(keep * len(whole))] or b"no database " * 100)
    with pytest.raises(StoreError) as caught:
        EvaluationStore(damaged, "24 prompts")
    message = str(caught.value)
    assert message.startswith(f"{damaged}: cannot be read (")
    assert "move it away" in message
    assert len(message.splitlines()) == 1


def test_a_storage_that_cannot_be_reached_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="the storage of evaluations: cannot be read"):
        EvaluationStore(f"sqlite:///{tmp_path}/lost/evaluations.db", "24 prompts")
