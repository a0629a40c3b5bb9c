"""Runs as the page sees them: read from their folders, and again where a file has changed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from evaluators.pool_events import PoolEvent
from experiments.fault_log import load_faults
from experiments.live import Live, load_live
from experiments.report.data import picture_name
from experiments.run_folder import RunFolder, RunFolderError
from experiments.training_log import TrainingPoint, load_training
from latency_tables.parsing import parse_json, parse_toml
from search.decision import Decision
from search.front import Front, FrontPoint
from search.recorded_evaluations import Evaluation, RecordedEvaluations
from search.state import SearchState
from supernet.inventory_file import load_inventory
from supernet.parts import Inventory

_Value = TypeVar("_Value")
_Stamp = tuple[int, int] | None  # moment and size of a file; None where there is none


@dataclass(frozen=True)
class Samples:
    """Pictures of one UNet: ``TITLE-00.png`` and so on.

    Attributes:
        folder: where they are.
        title: which UNet drew them.
        captions: the prompt of each.
        clip_scores: of each picture with its prompt.
    """

    folder: Path
    title: str
    captions: tuple[str, ...]
    clip_scores: tuple[float, ...]

    def picture(self, number: int) -> Path:
        """The file of one of them."""
        return self.folder / picture_name(self.title, number)


@dataclass(frozen=True)
class Run:
    """A run at a moment.

    Attributes:
        name: as the page calls it.
        folder: where it is.
        version: another number whenever anything of it has changed.
        settings: its experiment, by section.
        inventory: of the base UNet.
        decisions: so far.
        evaluations: so far.
        front: what it went on to beyond its target, fastest first.
        result: of a finished run.
        samples: pictures of the comparison at its end, the base's first.
        round_samples: of the base, and of what every round has found.
    """

    name: str
    folder: RunFolder
    version: int
    settings: Mapping[str, Any]
    inventory: Inventory
    decisions: tuple[Decision, ...]
    evaluations: tuple[Evaluation, ...]
    front: tuple[FrontPoint, ...]
    result: Mapping[str, Any] | None
    samples: tuple[Samples, ...]
    round_samples: tuple[Samples, ...]

    @property
    def tables(self) -> tuple[str, ...]:
        """Of its experiment; the first is the objective's."""
        return tuple(self.settings["latency"]["tables"])

    @property
    def strategy(self) -> str:
        search = self.settings["search"]
        return f"{search['strategy']} (paper)" if search["paper"] else str(search["strategy"])

    @property
    def seed(self) -> int:
        return int(self.settings["seed"])

    def target_ms(self, base_ms: float) -> float:
        """Latency to reach by the objective's table, by which the base takes ``base_ms``."""
        latency = self.settings["latency"]
        return float(latency.get("target_ms") or base_ms * latency["target_ratio"])


class WatchedRun:
    """Reads one run folder, and of it what has changed since."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.folder = RunFolder(path)
        self._kept: dict[Path, tuple[_Stamp, Any]] = {}
        self._stamps: tuple[_Stamp, ...] = ()
        self._version = 0
        self._run: Run | None = None
        self._evaluations: RecordedEvaluations | None = None
        self._lock = threading.Lock()  # of several requests at once, one reads

    def version(self) -> int:
        """Another number whenever a file that is read has changed; nothing is read for it."""
        folder = self.folder
        read = (
            folder.experiment,
            folder.inventory,
            folder.state,
            folder.evaluations,
            folder.front,
            folder.result,
            *(place / "samples.json" for place in _sample_folders(folder)),
        )
        stamps = tuple(_stamp(path) for path in read)
        if stamps != self._stamps:
            self._stamps = stamps
            self._version += 1
        return self._version

    def read(self) -> Run:
        """The run as it is now.

        Raises:
            ValueError: in one line, if its folder is none of a run, or damaged.
        """
        with self._lock:
            version = self.version()
            if self._run is None or self._run.version != version:
                self._run = None  # what cannot be read now is not shown as it was
                self._run = self._read(version)
            return self._run

    def _read(self, version: int) -> Run:
        folder = self.folder
        settings = self._of(folder.experiment, _settings)
        inventory = self._of(folder.inventory, load_inventory)
        if settings is None:
            raise RunFolderError(f"{folder.path}: is no run folder any more (no experiment.toml)")
        if inventory is None:
            raise RunFolderError(
                f"{folder.path}: has no inventory.json, as its search has not begun yet or an "
                f"earlier evounet made it; 'evounet report {folder.path}' writes it"
            )
        full = inventory.full()
        state = self._of(folder.state, lambda path: SearchState.load(path, full))
        front = self._of(folder.front, lambda path: Front.load(path, full).points)
        if self._evaluations is None or self._evaluations.full != full:
            self._evaluations = RecordedEvaluations(folder.evaluations, full)
        self._evaluations.read()
        return Run(
            name=self.name,
            folder=folder,
            version=version,
            settings=settings,
            inventory=inventory,
            decisions=tuple(state.decisions) if state else (),
            evaluations=tuple(self._evaluations),
            front=front or (),
            result=self._of(folder.result, _json),
            samples=self._samples_in(folder.samples),
            round_samples=self._samples_in(folder.round_samples),
        )

    def pulse(self) -> str:
        """Another text whenever something has happened that is no evaluation and no decision."""
        folder = self.folder
        return str([_stamp(path) for path in (folder.live, folder.curves, folder.faults)])

    def live(self) -> Live | None:
        """What the search said last.

        Raises:
            RunFolderError: if that is damaged.
        """
        return self._of(self.folder.live, load_live)

    def curves(self) -> tuple[TrainingPoint, ...]:
        """Of its trainings so far.

        Raises:
            RunFolderError: if they are damaged.
        """
        return self._of(self.folder.curves, load_training) or ()

    def faults(self) -> tuple[PoolEvent, ...]:
        """What happened to its workers so far."""
        return self._of(self.folder.faults, load_faults) or ()

    def _samples_in(self, place: Path) -> tuple[Samples, ...]:
        return self._of(place / "samples.json", lambda path: _samples(path, place)) or ()

    def _of(self, path: Path, read: Callable[[Path], _Value]) -> _Value | None:
        """What is in a file, read once for every change of it; None where there is none."""
        stamp = _stamp(path)
        if stamp is None:
            return None
        if path not in self._kept or self._kept[path][0] != stamp:
            self._kept[path] = stamp, read(path)
        value: _Value = self._kept[path][1]
        return value


def find_runs(paths: Sequence[Path]) -> dict[str, Path]:
    """The run folders that are meant, by name: themselves, or those in a folder or a sweep.

    Raises:
        RunFolderError: if there is none at one of the paths.
    """
    found: list[Path] = []
    for path in paths:
        inside = sorted(each.parent for each in path.glob("*/experiment.toml"))
        if not (path / "experiment.toml").exists() and not inside:
            raise RunFolderError(
                f"{path}: is no run folder and holds none (no experiment.toml); name the folder of "
                "a search, such as runs/demo"
            )
        found += inside or [path]
    names = [path.resolve().name for path in found]
    return {
        name if names.count(name) == 1 else str(path): path
        for name, path in zip(names, found, strict=True)
    }


def _stamp(path: Path) -> _Stamp:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _settings(path: Path) -> dict[str, Any]:
    """An experiment as a run folder holds it, with all its sections; what the page needs of it.

    It is not checked any further: the search that has written it has done that.
    """
    try:
        settings = parse_toml(path.read_text(encoding="utf-8"))
        latency, search = settings["latency"], settings["search"]
        needed = (settings["seed"], latency["tables"][0], search["strategy"], search["paper"])
        if None in needed or not {"target_ms", "target_ratio"} & latency.keys():
            raise KeyError("latency.target_ms")
    except ValueError as error:
        raise RunFolderError(f"{path}: damaged ({error}); restore it from a copy") from error
    except (KeyError, IndexError, TypeError) as error:
        raise RunFolderError(
            f"{path}: is not the experiment of a search (it lacks {error}); restore it from a copy"
        ) from error
    return settings


def _json(path: Path) -> Any:
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunFolderError(f"{path}: damaged ({error}); 'evounet resume' writes it") from error


def _sample_folders(folder: RunFolder) -> tuple[Path, Path]:
    return folder.samples, folder.round_samples


def _samples(path: Path, place: Path) -> tuple[Samples, ...]:
    try:
        return tuple(
            Samples(place, each["title"], tuple(each["captions"]), tuple(each["clip_scores"]))
            for each in _json(path)
        )
    except (KeyError, TypeError) as error:
        raise RunFolderError(f"{path}: damaged ({error}); 'evounet resume' writes it") from error
