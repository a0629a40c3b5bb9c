"""What goes up with a job: the experiment, and the local files that it names."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.cluster.connection import ClusterError
from experiments.experiment import Experiment
from experiments.models import SHAPES
from experiments.whole.section import BASE, FOUND
from latency_tables.registry import FOLDERS_VARIABLE, available_tables, is_path, user_folders
from latency_tables.table_files import table_paths

EXPERIMENT_FILE = "experiment.toml"
_TABLES = "evounet-tables"
_LIMIT_MB = 200  # the head keeps what is sent in memory, and Ray itself takes 500 MiB at most


def write_job_files(experiment: Experiment, folder: Path) -> dict[str, str]:
    """Fill a job's working directory, which Ray unpacks on every node that works for the job.

    Relative paths in an experiment name files here: they go along, under the same paths. Absolute
    ones, Hugging Face ids and URLs are left to the nodes, and so is ``workers.address``, since the
    job runs on the cluster already. Tables in the user's own folders go along too.

    Args:
        experiment: read and checked.
        folder: empty, to be filled.

    Returns:
        Environment variables that the job needs.

    Raises:
        ClusterError: if a path leads out of this folder, the files are too big to be sent, or
            scores would be kept in the job's folder, which is gone when it ends.
    """
    store = experiment.evaluation.store
    if store is not None and "://" not in store and not Path(store).is_absolute():
        raise ClusterError(
            f"evaluation.store: '{store}' would end with the job; give an absolute path on the "
            "cluster's head, or the URL of a database"
        )
    workers = experiment.workers.model_copy(update={"address": None})
    sent = experiment.model_copy(update={"workers": workers})
    files = {path: folder / path for path in _local_files(experiment)}
    tables = {path: folder / _TABLES / path.name for path in _user_tables(experiment)}
    _check_size([*files, *tables])
    for path, place in (files | tables).items():
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, place, dirs_exist_ok=True)
        else:
            shutil.copy(path, place)
    (folder / EXPERIMENT_FILE).write_text(sent.to_toml(), encoding="utf-8")
    return {FOLDERS_VARIABLE: _TABLES} if tables else {}


def _local_files(experiment: Experiment) -> list[Path]:
    values = experiment.model_dump(exclude={"name", "search", "workers", "whole"})
    stages = {BASE, FOUND, *(stage.name for stage in experiment.steps.stages)}
    texts = (text for text in _texts(values) if text not in stages)
    named = {Path(each) for text in texts for each in _paths(text)}
    for path in named:
        if ".." in path.parts:
            raise ClusterError(
                f"'{path}' is outside of this folder and cannot go with a job: submit from a "
                "folder above it, or put it on every node and give its absolute path"
            )
    return sorted(named)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)


def _paths(text: str) -> Iterator[Path]:
    """The files and folders here that a text of an experiment names by a relative path."""
    path = Path(text.removeprefix("local-dir:"))  # as open_clip writes a folder
    if text == SHAPES or path.is_absolute() or not path.parts:
        return
    yield from {each for each in (path, *table_paths(path)) if each.exists()}


def _user_tables(experiment: Experiment) -> list[Path]:
    known, folders = available_tables(), user_folders()
    found = [
        Path(known[name])
        for name in experiment.latency.tables
        if not is_path(name) and name in known
    ]
    return [file for path in found if path.parent in folders for file in table_paths(path)]


def _check_size(paths: list[Path]) -> None:
    sizes = {
        path: sum(each.stat().st_size for each in (path, *path.rglob("*")) if each.is_file())
        for path in paths
    }
    if sum(sizes.values()) > _LIMIT_MB * 1e6:
        largest = max(sizes, key=lambda path: sizes[path])
        raise ClusterError(
            f"the experiment names {sum(sizes.values()) / 1e6:.0f} MB of local files, more than "
            f"the {_LIMIT_MB} MB that go with a job: put the largest, '{largest}', on every node "
            "and give its absolute path"
        )
