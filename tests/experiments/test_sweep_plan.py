"""Sweeps before they begin: values of trials, and bad input refused in one line."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from in_process import Evounet
from toy_sweep import sweep_section, swept

from experiments.experiment import (
    PRESETS,
    Experiment,
    ExperimentError,
    load_experiment,
    resolve,
)
from experiments.sweep.plan import check_values, draw_values, trial_experiment, trial_names
from experiments.sweep.section import Parameter
from latency_tables.parsing import parse_toml

RATE = {"low": 1e-5, "high": 1e-3, "log": True}


def parameter(given: object) -> Parameter:
    return Parameter.model_validate(given)


# --- values


def test_a_grid_is_tried_whole_where_the_trials_cover_it() -> None:
    lists = {"search.caution": [0.0, 1.0], "search.rounds": {"low": 2, "high": 4}}
    values = draw_values(sweep_section(trials=10, parameters=lists), seed=0)
    expected = [(c, r) for c in (0.0, 1.0) for r in (2, 3, 4)]
    assert [tuple(each.values()) for each in values] == expected


def test_of_a_larger_grid_as_many_are_drawn_and_none_twice() -> None:
    lists = {"search.caution": [0.0, 1.0, 2.0], "search.rounds": [1, 2, 3]}
    values = draw_values(sweep_section(trials=8, parameters=lists), seed=0)
    assert len({tuple(each.values()) for each in values}) == 8


def test_draws_are_fixed_by_the_seed_alone() -> None:
    section = sweep_section(trials=5, parameters={"a": RATE, "b": [1, 2, 3]})
    assert draw_values(section, seed=7) == draw_values(section, seed=7)
    assert draw_values(section, seed=7) != draw_values(section, seed=8)


@pytest.mark.parametrize("seed", range(5))
def test_equal_parts_of_a_range_are_drawn_from_alike(seed: int) -> None:
    """Sixteen Sobol points: one in every sixteenth, which sixteen random ones never manage."""
    section = sweep_section(trials=16, parameters={"a": RATE, "b": {"low": 0.0, "high": 1.0}})
    drawn = draw_values(section, seed)
    parts = sorted(int(8 * math.log10(each["a"] / 1e-5)) for each in drawn)
    assert parts == list(range(16))
    assert sorted(int(16 * each["b"]) for each in drawn) == list(range(16))


@given(st.floats(0, 1, exclude_max=True), st.booleans())
def test_a_drawn_number_is_in_its_range(share: float, log: bool) -> None:
    wide = parameter({"low": 1.23456e-5, "high": 0.987654, "log": log})
    assert 1.23456e-5 <= wide.at(share) <= 0.987654
    whole = parameter({"low": 2, "high": 9, "log": log})
    assert whole.at(share) in range(2, 10)
    assert isinstance(whole.at(share), int)


def test_whole_numbers_are_equally_likely() -> None:
    whole = parameter({"low": 1, "high": 4})
    assert [whole.at(i / 8) for i in range(8)] == [1, 1, 2, 2, 3, 3, 4, 4]
    octaves = parameter({"low": 1, "high": 7, "log": True})
    assert [octaves.at(i / 3 + 0.01) for i in range(3)] == [1, 2, 4]


def test_too_narrow_a_range_is_refused() -> None:
    narrow = {"a": {"low": 1.0, "high": 1.0001}}
    with pytest.raises(ValueError, match="have no 3 different values; widen the ranges"):
        draw_values(sweep_section(parameters=narrow), seed=0)


# --- experiments of trials


def test_a_trial_is_the_experiment_with_its_values_as_if_they_were_set() -> None:
    parameters = {"search.caution": [2.0], "training.round.dropping.keep_prob": [[0.3, 0.9]]}
    experiment = swept({"trials": 1, "parameters": parameters})
    [values] = draw_values(sweep_section(trials=1, parameters=parameters), seed=0)
    trial = trial_experiment(experiment, values, "toy-1", "toy.toml")
    assert trial.sweep is None
    assert trial.search.caution == 2.0
    assert trial.training.round.dropping.keep_prob == (0.3, 0.9)
    expected = experiment.model_copy(
        update={
            "name": "toy-1",
            "sweep": None,
            "search": experiment.search.model_copy(update={"caution": 2.0}),
            "training": trial.training,
        }
    )
    assert trial == expected


def test_names_sort_as_trials_do() -> None:
    assert trial_names(2) == ["trial-01", "trial-02"]
    names = trial_names(100)
    assert names == sorted(names)


def test_a_sweep_is_written_and_read_as_it_was_given() -> None:
    parameters = {"search.caution": [0.0, 1.0], "training.round.learning_rate": RATE}
    experiment = swept({"trials": 4, "parameters": parameters})
    assert '"training.round.learning_rate"' in experiment.to_toml()
    values = parse_toml(experiment.to_toml())
    assert values["sweep"]["parameters"] == parameters
    assert resolve(Experiment, values, [], "again") == experiment


def test_keys_need_no_quotes(tmp_path: Path) -> None:
    file = tmp_path / "toy.toml"
    file.write_text(
        'name = "toy"\nlatency = { tables = ["toy"], target_ratio = 0.5 }\n'
        "[sweep]\ntrials = 2\n[sweep.parameters]\nsearch.caution = [1.0, 2.0]\n"
        "training.round.learning_rate = { low = 1e-4, high = 1e-3 }\n"
    )
    section = load_experiment(file, ["sweep.parameters.seed=[1, 2]"]).sweep
    assert section is not None
    keys = ["search.caution", "training.round.learning_rate", "seed"]
    assert list(section.parameters) == keys


# --- bad input


@pytest.mark.parametrize(
    ("key", "given", "complaint"),
    [
        ("search.cauton", [1.0], "unknown key 'search.cauton'; there are: rounds, actions,"),
        ("search.caution", [1.0, -1.0], "'search.caution' is -1.0: Input should be greater"),
        ("search.rounds", {"low": 0, "high": 3}, "'search.rounds' is 0: Input should be greater"),
        ("search.rounds", {"low": 0.5, "high": 3.0}, "'search.rounds' is 0.5: Input should be a"),
        ("search.rounds.more", [1], "'rounds' is a value, not a section"),
        ("training.round.dropping.keep_prob", [[0.9, 0.1]], "a keep probability is a number p or"),
        ("training.round.dropping.sandwich", [2], "sandwich trains whole batches"),
        ("latency.target_ratio", [0.4, 0.5], "of 'latency.target_ratio' trials would not compare"),
        ("evaluation.prompts.count", [8], "would not compare; sweep keys of search, training"),
    ],
)
def test_values_that_the_experiment_may_not_have_are_refused(
    key: str, given: Any, complaint: str
) -> None:
    experiment = swept({"trials": 1, "parameters": {key: given}})
    with pytest.raises(ExperimentError) as caught:
        check_values(experiment, "my.toml")
    message = str(caught.value)
    assert message.startswith("my.toml: ")
    assert complaint in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"low": 2}, "write a list of values, or { low = 1, high = 8 }"),
        ({"low": 2, "hihg": 3}, "write a list of values"),
        ({"low": "2", "high": 3}, "write a list of values"),
        (3, "write a list of values"),
        ([], "write a list of values"),
        ([1, 1], "a value is there twice"),
        ({"low": 3, "high": 2}, "low 3 is not below high 2"),
        ({"low": 0.0, "high": 1.0, "log": True}, "equal ratios begin above 0"),
    ],
)
def test_what_is_neither_list_nor_range_is_refused(given: Any, complaint: str) -> None:
    values = {
        "name": "toy",
        "latency": {"tables": ["toy"], "target_ratio": 0.5},
        "sweep": {"trials": 2, "parameters": {"search.caution": given}},
    }
    with pytest.raises(ExperimentError) as caught:
        resolve(Experiment, values, [], "my.toml")
    message = str(caught.value)
    assert message.startswith("my.toml: 'sweep.parameters.search.caution'")
    assert complaint in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("section", "sections", "complaint"),
    [
        ({"grace_rounds": 5}, {}, "sweep.grace_rounds 5 is more than search.rounds 4"),
        ({"concurrent": 2}, {}, "set workers.count to how many each trial has"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    section: dict[str, Any], sections: dict[str, Any], complaint: str
) -> None:
    whole = {"trials": 2, "parameters": {"search.caution": [0.0, 1.0]}} | section
    with pytest.raises(ExperimentError, match=complaint):
        check_values(swept(whole, **sections), "my.toml")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ([], "demo: has no section [sweep]; add one with trials and parameters"),
        (["sweep.trials=2"], "demo.toml: 'sweep.parameters' is missing; add it"),
        (
            ["sweep.trials=2", "sweep.parameters.search.caution=[1.0,-2.0]"],
            "demo: sweep.parameters: 'search.caution' is -2.0",
        ),
    ],
)
def test_a_bad_sweep_writes_nothing(
    evounet: Evounet, tmp_path: Path, settings: list[str], complaint: str
) -> None:
    options = [part for each in settings for part in ("--set", each)]
    message = evounet.refused("sweep", "demo", "--run", tmp_path / "sweep", *options)
    assert complaint in message
    assert not (tmp_path / "sweep").exists()


def test_a_sweep_and_a_search_do_not_overwrite_each_other(evounet: Evounet, tmp_path: Path) -> None:
    of_sweep, of_search = tmp_path / "sweep", tmp_path / "search"
    section = {"trials": 2, "parameters": {"search.caution": [0.0, 1.0]}}
    for path, experiment in (
        (of_sweep, swept(section)),
        (of_search, load_experiment(Path("demo"))),
    ):
        path.mkdir()
        (path / "experiment.toml").write_text(experiment.to_toml())
    message = evounet.refused("search", "demo", "--run", of_sweep, "--overwrite")
    assert "holds a sweep, not one search; name one of its trials" in message
    assert "holds a sweep" in evounet.refused("report", of_sweep)
    settings = f"sweep.parameters.search.caution={json.dumps([0.0, 1.0])}"
    options = ("--set", "sweep.trials=2", "--set", settings, "--overwrite")
    message = evounet.refused("sweep", "demo", "--run", of_search, *options)
    assert "holds one search, not a sweep" in message


def test_the_example_of_the_documents_can_be_swept(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "search.md").read_text()
    [example] = re.findall(r"```toml\n(\[sweep\].*?)```", page, flags=re.DOTALL)
    file = tmp_path / "my.toml"
    file.write_text((PRESETS / "demo.toml").read_text() + example)
    experiment = load_experiment(file)
    check_values(experiment, "my.toml")
    assert experiment.sweep is not None
    drawn = draw_values(experiment.sweep, experiment.seed)
    assert len(drawn) == 8
    for values in drawn:
        trial_experiment(experiment, values, "toy", "my.toml")
