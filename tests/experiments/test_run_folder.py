"""Run folders: one process at a time, nothing lost by accident, nothing stuck after a kill."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from experiments.experiment import Experiment
from experiments.run_folder import RunFolder, RunFolderError


def experiment(name: str) -> Experiment:
    return Experiment.model_validate(
        {"name": name, "latency": {"tables": ["toy"], "target_ratio": 0.5}}
    )


NEW, OLD = experiment("new"), experiment("old")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "runs" / "one")


@pytest.fixture
def used(folder: RunFolder) -> RunFolder:
    """A folder in which a run has gone far, and its owner has left a note."""
    folder.create(OLD)
    for directory in (folder.checkpoints, folder.samples, folder.unet):
        directory.mkdir()
        (directory / "round-1.safetensors").write_bytes(b"weights")
    made = ("state", "decisions", "evaluations", "spec", "result", "report", "log")
    for name in made:
        getattr(folder, name).write_text("of the old run")
    (folder.path / "note.txt").write_text("of its owner")
    return folder


def names(folder: RunFolder) -> set[str]:
    return {path.name for path in folder.path.iterdir() if not path.name.startswith(".")}


# --- beginning


def test_a_new_run_holds_its_experiment(folder: RunFolder) -> None:
    folder.check_free(overwrite=False)
    assert not folder.path.exists()
    folder.create(NEW)
    assert names(folder) == {"experiment.toml"}
    assert folder.load_experiment() == NEW


def test_an_empty_folder_is_free(folder: RunFolder) -> None:
    folder.path.mkdir(parents=True)
    folder.check_free(overwrite=False)
    folder.create(NEW)
    assert folder.load_experiment() == NEW


def test_a_run_is_not_overwritten_unasked(used: RunFolder) -> None:
    with pytest.raises(RunFolderError, match=f"already there; .*'evounet resume {used.path}'"):
        used.check_free(overwrite=False)


def test_what_is_no_run_is_never_overwritten(folder: RunFolder) -> None:
    folder.path.mkdir(parents=True)
    (folder.path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunFolderError, match="is no run folder, so it is not overwritten"):
        folder.check_free(overwrite=True)
    assert names(folder) == {"thesis.tex"}


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_file_is_no_folder(folder: RunFolder, overwrite: bool) -> None:
    folder.path.parent.mkdir()
    folder.path.write_text("a file")
    with pytest.raises(RunFolderError, match="is a file"):
        folder.check_free(overwrite)


def test_overwriting_removes_the_old_run_and_nothing_else(used: RunFolder) -> None:
    used.check_free(overwrite=True)
    used.create(NEW)
    assert names(used) == {"experiment.toml", "note.txt"}
    assert used.load_experiment() == NEW


def test_a_folder_without_experiment_is_no_run(folder: RunFolder) -> None:
    with pytest.raises(RunFolderError, match="is no run folder"):
        folder.load_experiment()


# --- killed while it begins


@contextmanager
def stopping_at(moment: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], int]]:
    """Stop before the given removal, write or renaming; yields how many there were."""
    seen = 0

    def stops(function: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **options: object) -> object:
            nonlocal seen
            seen += 1
            if seen == moment:
                raise KeyboardInterrupt
            return function(*args, **options)

        return call

    with monkeypatch.context() as patch:
        for owner, name in ((Path, "unlink"), (shutil, "rmtree"), (os, "replace"), (Path, "mkdir")):
            patch.setattr(owner, name, stops(getattr(owner, name)))
        yield lambda: seen


@pytest.mark.parametrize("moment", range(1, 14))
def test_killed_while_overwriting_it_is_still_a_run(
    used: RunFolder, moment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stopping_at(moment, monkeypatch), pytest.raises(KeyboardInterrupt):
        used.create(NEW)
    # Either nothing has happened, or it can be resumed from the beginning of the old run, ...
    assert used.load_experiment() in (OLD, NEW)
    assert moment <= 2 or not used.state.exists()
    assert (used.path / "note.txt").exists()
    # ... or overwritten again.
    used.check_free(overwrite=True)
    used.create(NEW)
    assert names(used) == {"experiment.toml", "note.txt"}


def test_killed_while_it_begins_the_folder_is_free(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.path.parent.mkdir()
    with stopping_at(0, monkeypatch) as count:
        RunFolder(folder.path.with_name("other")).create(NEW)
    assert count() > 1
    for moment in range(1, count() + 1):
        with stopping_at(moment, monkeypatch), pytest.raises(KeyboardInterrupt):
            folder.create(NEW)
        if not folder.experiment.exists():
            folder.check_free(overwrite=False)
    # What a SIGKILL leaves: it cleans up nothing.
    folder.experiment.unlink(missing_ok=True)
    (folder.path / ".experiment.toml.123").write_text("name =")
    folder.check_free(overwrite=False)


# --- one process at a time


@contextmanager
def held_elsewhere(folder: RunFolder) -> Iterator[int]:
    """Another process that works in the folder until it is killed; yields its id."""
    hears, tells = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            with folder.locked():
                os.write(tells, b"locked")
                time.sleep(600)
        finally:
            os._exit(1)
    try:
        os.close(tells)
        assert os.read(hears, 6) == b"locked"
        yield process
    finally:
        os.close(hears)
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def test_a_folder_in_use_is_refused_until_its_process_dies(used: RunFolder) -> None:
    with held_elsewhere(used) as process:
        in_use = f"in use by process {process}; wait for it or stop it"
        with pytest.raises(RunFolderError, match=in_use), used.locked():
            pass
        with pytest.raises(RunFolderError, match=in_use):
            used.check_free(overwrite=True)
        with pytest.raises(RunFolderError, match=in_use):
            used.create(NEW)
        assert used.load_experiment() == OLD
        assert used.state.exists()
    with used.locked():
        assert (used.path / ".lock").read_text() == str(os.getpid())
    used.check_free(overwrite=True)


def test_a_lock_ends_with_an_error_too(used: RunFolder) -> None:
    with pytest.raises(KeyboardInterrupt), used.locked():
        raise KeyboardInterrupt
    with used.locked():
        pass
