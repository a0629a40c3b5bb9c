"""A run folder through the log of a job: whole, or refused."""

from __future__ import annotations

import io
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.cluster.archive import ArchiveError, Receiver, pack, unpack

NAMES = st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8})?\.[a-z]{3}", fullmatch=True)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in {"experiment.toml": b"", **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def read(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def packed(folder: Path, **options: bool) -> str:
    out = io.StringIO()
    pack(folder, out, **options)
    return out.getvalue()


def received(log: str, folder: Path, piece: int = 1000) -> Path:
    tar = folder / "run.tar"
    with tar.open("wb") as file:
        receiver = Receiver(file)
        for start in range(0, len(log), piece):
            receiver.feed(log[start : start + piece])
        receiver.check()
    unpack(tar, folder / "here")
    return folder / "here"


@settings(deadline=None, max_examples=50)
@given(
    files=st.dictionaries(NAMES, st.binary(max_size=200_000), max_size=4),
    piece=st.integers(1, 100_000),
)
def test_what_arrives_is_what_was_sent_wherever_the_log_is_cut(
    files: dict[str, bytes], piece: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    there, here = tmp_path_factory.mktemp("there"), tmp_path_factory.mktemp("here")
    sent = write(there, files)
    assert read(received(packed(sent), here, piece)) == read(sent)


def test_what_others_print_between_the_lines_does_no_harm(tmp_path: Path) -> None:
    sent = write(tmp_path / "run", {"big.bin": bytes(200_000)})
    lines = packed(sent).splitlines(keepends=True)
    log = "Running entrypoint\n" + "a warning\n".join(lines) + "bye\n"
    assert read(received(log, tmp_path)) == read(sent)


def test_a_lost_line_is_noticed(tmp_path: Path) -> None:
    lines = packed(write(tmp_path / "run", {"big.bin": bytes(200_000)})).splitlines(keepends=True)
    for lost in (1, 2, len(lines) - 1):
        with pytest.raises(ArchiveError, match="incompletely"):
            received("".join(lines[:lost] + lines[lost + 1 :]), tmp_path)


def test_hidden_files_and_checkpoints_that_nobody_wants_stay(tmp_path: Path) -> None:
    files = {".lock": b"1", "checkpoints/round-1.safetensors": b"weights", "log.txt": b"said"}
    sent = write(tmp_path / "run", files)
    assert read(received(packed(sent), tmp_path)).keys() == {
        "experiment.toml",
        "checkpoints/round-1.safetensors",
        "log.txt",
    }
    few = tmp_path / "few"
    few.mkdir()
    assert read(received(packed(sent, checkpoints=False), few)).keys() == {
        "experiment.toml",
        "log.txt",
    }


def test_a_database_in_use_arrives_as_of_its_last_commit(tmp_path: Path) -> None:
    sent = write(tmp_path / "run", {})
    with closing(sqlite3.connect(sent / "evaluations.db")) as writer:
        writer.execute("pragma journal_mode = wal")  # what is committed is not in the file yet
        writer.execute("create table scores (value)")
        writer.execute("insert into scores values (1)")
        writer.commit()
        writer.execute("insert into scores values (2)")
        here = received(packed(sent), tmp_path)
    with closing(sqlite3.connect(here / "evaluations.db")) as reader:
        assert reader.execute("select value from scores").fetchall() == [(1,)]


def test_what_is_no_run_folder_is_not_packed(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="is no run folder"):
        packed(tmp_path)


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    "evil",
    [
        member("/etc/passwd"),
        member("../outside"),
        member("samples/../../outside"),
        member("link", tarfile.SYMTYPE, "/etc"),
        member("link", tarfile.LNKTYPE, "/etc/passwd"),
        member("pipe", tarfile.FIFOTYPE),
    ],
    ids=["absolute", "above", "above from within", "symbolic link", "hard link", "pipe"],
)
def test_nothing_is_written_outside_of_the_folder(evil: tarfile.TarInfo, tmp_path: Path) -> None:
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(evil)
    with pytest.raises(ArchiveError, match="no file inside of a run folder"):
        unpack(path, tmp_path / "here" / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["evil.tar"]


@pytest.mark.parametrize("line", ['evounet-archive {"bytes": 1', "evounet-archive A"])
def test_a_line_that_was_changed_on_its_way_is_told(line: str) -> None:
    with pytest.raises(ArchiveError, match=r"came damaged .*; fetch it once more"):
        Receiver(io.BytesIO()).feed(line + "\n")
