"""A disk that is full in the middle of a write: nothing is lost, and the search goes on later."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_runs import search

DECISIONS = 3


def half_written(nth: int) -> Callable[..., int]:
    """``Path.write_text`` that has no room for the second half of its ``nth`` text."""
    calls, write = 0, Path.write_text

    def write_text(self: Path, text: str, **options: str) -> int:
        nonlocal calls
        calls += 1
        if calls < nth:
            return write(self, text, **options)
        write(self, text[: len(text) // 2], **options)
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    return write_text


def outcome(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("nth", range(1, 2 * DECISIONS + 1))
def test_it_ends_as_it_would_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    """Every decision writes two files, the state last."""
    (tmp_path / "whole").mkdir()
    whole = search(tmp_path / "whole", rounds=DECISIONS)
    whole.run()
    assert len(whole.told) == DECISIONS
    folder = tmp_path / "full"
    folder.mkdir()
    with monkeypatch.context() as full:
        full.setattr(Path, "write_text", half_written(nth))
        with pytest.raises(OSError, match="No space left"):
            search(folder, rounds=DECISIONS).run()
    assert set(outcome(folder)) <= {"state.json", "decisions.jsonl"}
    search(folder, rounds=DECISIONS).run()
    assert outcome(folder) == outcome(tmp_path / "whole")
