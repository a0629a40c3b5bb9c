"""What goes up with a job, and what is left to the nodes."""

from __future__ import annotations

from pathlib import Path

import pytest
from in_process import invented_table

from experiments.cluster.connection import ClusterError
from experiments.cluster.upload import write_job_files
from experiments.experiment import Experiment, load_experiment
from latency_tables import write_table


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a search is submitted."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """The job's working directory."""
    folder = tmp_path / "job"
    folder.mkdir()
    return folder


def experiment(**sections: object) -> Experiment:
    latency = {"tables": ["toy"], "target_ratio": 0.5}
    return Experiment.model_validate({"name": "mine", "latency": latency, **sections})


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_relative_paths_go_along_and_mean_the_same_there(here: Path, job: Path) -> None:
    (here / "models" / "pipe" / "unet").mkdir(parents=True)
    (here / "models" / "pipe" / "unet" / "config.json").write_text("{}")
    (here / "models" / "judge").mkdir()
    (here / "models" / "judge" / "open_clip.json").write_text("{}")
    (here / "prompts.txt").write_text("a heron at dawn\n")
    for suffix in ("toml", "csv"):
        (here / f"mine.{suffix}").write_text("")
    sent = experiment(
        model={"pipeline": "models/pipe"},
        latency={"tables": ["mine.toml"], "target_ratio": 0.5},
        evaluation={
            "prompts": {"source": "prompts.txt"},
            "scorer": {"name": "local-dir:models/judge"},
        },
    )
    assert write_job_files(sent, job) == {}
    assert names(job) == {
        "experiment.toml",
        "models/pipe/unet/config.json",
        "models/judge/open_clip.json",
        "prompts.txt",
        "mine.toml",
        "mine.csv",
    }
    assert load_experiment(job / "experiment.toml") == sent


def test_absolute_paths_and_ids_are_left_to_the_nodes(here: Path, job: Path) -> None:
    (here / "prompts.txt").write_text("a heron at dawn\n")
    (here / "shapes").mkdir()  # not what the experiment means
    sent = experiment(
        model={"pipeline": "org/model", "supernet": "/models/supernet.safetensors"},
        evaluation={"prompts": {"source": str(here / "prompts.txt")}},
    )
    write_job_files(sent, job)
    assert names(job) == {"experiment.toml"}


def test_names_of_stages_are_no_files(here: Path, job: Path) -> None:
    """Whatever folders there are beside the experiment, such as packages of these names."""
    for name in ("base", "search", "decoder", "steps", "first"):
        (here / name).mkdir()
        (here / name / "__init__.py").write_text("")
    training = {"student_steps": 4, "steps": 1, "batch_size": 1}
    stage = {"kind": "distillation", "teacher_steps": 8, "training": training}
    first = {**stage, "name": "first", "teacher": "base", "student": "search"}
    second = {**stage, "name": "second", "teacher": "base", "student": "first"}
    write_job_files(experiment(steps={"data": "shapes", "stages": [first, second]}), job)
    assert names(job) == {"experiment.toml"}


def test_a_job_works_on_the_cluster_that_it_is_on(here: Path, job: Path) -> None:
    write_job_files(experiment(workers={"address": "ray://head:10001", "count": 3}), job)
    workers = load_experiment(job / "experiment.toml").workers
    assert (workers.address, workers.count) == (None, 3)


def test_tables_of_the_user_go_along(here: Path, job: Path, tables: Path, unet: str) -> None:
    write_table(invented_table(unet, name="toy"), tables)
    variables = write_job_files(experiment(), job)
    assert names(job / variables["EVOUNET_TABLES"]) == {"toy.toml", "toy.csv"}


def test_a_store_that_would_end_with_the_job_is_refused(here: Path, job: Path) -> None:
    with pytest.raises(ClusterError, match=r"'scores\.db' would end with the job"):
        write_job_files(experiment(evaluation={"store": "scores.db"}), job)
    for lasting in ("/home/me/scores.db", "postgresql://head/scores"):
        write_job_files(experiment(evaluation={"store": lasting}), job)


def test_a_path_that_leads_out_is_refused(here: Path, job: Path) -> None:
    (here.parent / "prompts.txt").write_text("a heron at dawn\n")
    with pytest.raises(ClusterError, match=r"'\.\./prompts\.txt' is outside of this folder"):
        write_job_files(experiment(evaluation={"prompts": {"source": "../prompts.txt"}}), job)
    assert names(job) == set()


def test_files_too_big_to_send_are_refused(here: Path, job: Path) -> None:
    with (here / "supernet.safetensors").open("wb") as file:
        file.truncate(201_000_000)
    with pytest.raises(ClusterError, match=r"201 MB.*'supernet\.safetensors', on every node"):
        write_job_files(experiment(model={"supernet": "supernet.safetensors"}), job)
    assert names(job) == set()
