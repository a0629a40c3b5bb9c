"""Where a benchmark's work is kept: what it goes on from, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from in_process import Evounet

from experiments.benchmarks import strategies, work_folder
from experiments.benchmarks.benchmark import Figure
from experiments.benchmarks.work_folder import WorkFolderError, open_work
from experiments.run_folder import RunFolderError


@pytest.fixture(autouse=True)
def code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work_folder, "_code", lambda: "abc")


def begin(path: Path, benchmark: str = "distill", quick: bool = True) -> int:
    with open_work(path, benchmark, quick) as sittings:
        return sittings


def test_sittings_are_counted(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "work"
    assert [begin(folder) for _ in range(3)] == [1, 2, 3]


def test_work_of_another_kind_is_refused_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(tmp_path)
    before = (tmp_path / "work.json").read_text()
    with pytest.raises(WorkFolderError, match="begun with another benchmark"):
        begin(tmp_path, "strategies")
    with pytest.raises(WorkFolderError, match="begun with another quick"):
        begin(tmp_path, quick=False)
    with monkeypatch.context() as patched:
        patched.setattr(work_folder, "_code", lambda: "def")
        with pytest.raises(WorkFolderError, match=r"another code \(abc, now def\)"):
            begin(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(work_folder, "environment", lambda: {"chip": "T1", "commit": None})
        with pytest.raises(WorkFolderError, match="another environment"):
            begin(tmp_path)
    assert (tmp_path / "work.json").read_text() == before
    assert begin(tmp_path) == 2


def test_a_new_commit_of_the_same_code_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(tmp_path)
    here = work_folder.environment()
    monkeypatch.setattr(work_folder, "environment", lambda: here | {"commit": "fffffff"})
    assert begin(tmp_path) == 2


def test_other_folders_damaged_ones_and_those_in_use_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").write_text("dear")
    with pytest.raises(WorkFolderError, match="is no benchmark's work"):
        begin(other)
    assert [path.name for path in other.iterdir()] == ["letter.txt"]
    work = tmp_path / "work"
    with open_work(work, "distill", quick=True), pytest.raises(RunFolderError, match="in use by"):
        begin(work)
    (work / "work.json").write_text("{")
    with pytest.raises(WorkFolderError, match=r"work\.json: is damaged"):
        begin(work)


def test_the_code_is_all_that_lies_in_the_house(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(work_folder, "_HOUSE", tmp_path)
    (tmp_path / "search").mkdir()
    file = tmp_path / "search" / "action.py"
    digests = []
    for text in ("1", "2", "1"):
        file.write_text(text)
        digests.append(work_folder._code())
    assert digests[0] == digests[2] != digests[1]
    file.rename(tmp_path / "search" / "deed.py")
    assert work_folder._code() not in digests


def test_figures_tell_of_sittings(
    evounet: Evounet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folders: list[Path] = []

    def run_in(folder: Path, quick: bool, console: object) -> list[Figure]:
        folders.append(folder)
        return [Figure("clip", 0.9, "of pictures")]

    monkeypatch.setattr(strategies, "run_in", run_in)
    work, file, page = (tmp_path / name for name in ("work", "figures.json", "page.md"))
    command = ("bench", "strategies", "--work", work, "--json", file, "--write", page)
    for sittings in (1, 2):
        answer = evounet(*command)
        assert answer.code == 0, answer.err
        assert json.loads(file.read_text())["environment"]["sittings"] == sittings
        assert ("in 2 sittings" in page.read_text()) == (sittings == 2)
    assert folders == [work, work]
    assert "was begun with another quick" in evounet.refused(*command, "--quick")
    assert (
        "--work is for a benchmark that takes hours: distill, paper, strategies"
        in evounet.refused("bench", "world", "--work", work)
    )
