"""Where a long benchmark keeps what it has done, so that after a kill it goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from experiments.benchmarks.benchmark import environment
from experiments.run_folder import held
from search.state import write_atomically

_RECORD = "work.json"
_HOUSE = Path(__file__).parents[2]
_ROOMS = ("latency_tables", "supernet", "distillation", "evaluators", "search", "experiments")


class WorkFolderError(ValueError):
    """A folder that a benchmark cannot go on in."""


class _Record(BaseModel):
    """Whose work a folder holds.

    Attributes:
        benchmark: its name.
        quick: whether on less.
        code: digest of all of evounet's files, models and tables among them.
        environment: of :func:`environment`, but for the commit: the code says more.
        sittings: how often it was begun.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmark: str
    quick: bool
    code: str
    environment: dict[str, Any]
    sittings: int

    @property
    def conditions(self) -> dict[str, Any]:
        """What has to be the same for work to be gone on with."""
        return self.model_dump(exclude={"sittings"})


@contextmanager
def open_work(path: Path, benchmark: str, quick: bool) -> Iterator[int]:
    """Hold a folder of one benchmark's work for this process.

    Yields how often the work was begun, this time included. What it consists of is known to the
    benchmark alone.

    Raises:
        WorkFolderError: if the folder holds other work, that of other code or of another machine,
            or files of something else.
        RunFolderError: if another process works in it.
    """
    record = _record(path, benchmark, quick)
    path.mkdir(parents=True, exist_ok=True)
    with held(path):
        write_atomically(path / _RECORD, record.model_dump_json(indent=1) + "\n")
        yield record.sittings


def _record(path: Path, benchmark: str, quick: bool) -> _Record:
    here = environment()
    del here["commit"]
    now = _Record(benchmark=benchmark, quick=quick, code=_code(), environment=here, sittings=1)
    file = path / _RECORD
    if not file.exists():
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise WorkFolderError(f"{path}: is no benchmark's work; give another --work")
        return now
    try:
        before = _Record.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise WorkFolderError(f"{file}: is damaged; give another --work") from error
    for name, value in now.conditions.items():
        if before.conditions[name] != value:
            raise WorkFolderError(
                f"{path}: was begun with another {name} ({before.conditions[name]}, now {value}), "
                "so its figures would be of both; give another --work, or go back to that"
            )
    return now.model_copy(update={"sittings": before.sittings + 1})


def _code() -> str:
    """Twelve hexadecimal digits for all that evounet consists of."""
    digest = hashlib.sha256()
    for room in _ROOMS:
        for path in sorted((_HOUSE / room).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(_HOUSE)} ".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]
