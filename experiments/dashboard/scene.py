"""What a view is drawn from: the runs, and what a person has chosen among them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from experiments.dashboard.address import Address
from experiments.dashboard.prices import Priced, PriceList
from experiments.dashboard.runs import Run, WatchedRun, find_runs
from experiments.run_folder import RunFolderError
from search.decision import Decision
from supernet.architecture import Architecture


class Library:
    """All runs that the page shows; new ones in a folder appear by themselves.

    Args:
        paths: run folders, or folders of some.

    Raises:
        RunFolderError: if there is none at one of the paths.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths
        self.prices = PriceList()
        self._watched: dict[str, WatchedRun] = {}
        self.look()

    def look(self) -> None:
        """See whether runs have come or gone."""
        found = find_runs(self.paths)
        self._watched = {
            name: self._watched.get(name) or WatchedRun(name, path) for name, path in found.items()
        }

    @property
    def names(self) -> list[str]:
        return list(self._watched)

    def run(self, name: str) -> Run:
        """A run as it is now.

        Raises:
            ValueError: in one line, if there is none of this name, or it cannot be read.
        """
        return self.watched(name).read()

    def watched(self, name: str) -> WatchedRun:
        """The same, for what of it changes all the time.

        Raises:
            ValueError: if there is none of this name.
        """
        if name not in self._watched:
            raise ValueError(f"there is no run '{name}' here; there are: {', '.join(self.names)}")
        return self._watched[name]

    def stamp(self, pulse_of: str | None = None) -> str:
        """Another text whenever any run has changed.

        Args:
            pulse_of: a run whose trainings and workers count too.
        """
        with suppress(RunFolderError):  # a folder that is gone says so where it would be shown
            self.look()
        runs = " ".join(f"{name}:{run.version()}" for name, run in self._watched.items())
        pulsing = self._watched.get(pulse_of or "")
        return runs if pulsing is None else f"{runs} {pulsing.pulse()}"


class Scene:
    """The runs, and what is chosen."""

    def __init__(self, library: Library, address: Address) -> None:
        self.library = library
        self.address = address

    @property
    def name(self) -> str:
        """Of the run that is looked at."""
        return self.address.run or self.library.names[0]

    @cached_property
    def run(self) -> Run:
        """The run that is looked at."""
        return self.library.run(self.name)

    @cached_property
    def priced(self) -> Priced:
        """The same, by the table that is chosen."""
        return self.library.prices.priced(self.run, self.address.table)

    @property
    def names(self) -> list[str]:
        """Of the run that is looked at, then of those that are shown with it."""
        return list(dict.fromkeys([self.name, *self.address.others]))

    def all_priced(self) -> list[Priced]:
        """The run that is looked at and those beside it, all by the same table."""
        table = self.address.table or self.run.tables[0]
        return [self.library.prices.priced(self.library.run(name), table) for name in self.names]

    @cached_property
    def rounds(self) -> int:
        """How many decisions are shown."""
        number = self.address.round
        made = len(self.run.decisions)
        return min(int(number), made) if number.isdecimal() else made

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Those that are shown, by the table that is chosen."""
        return self.priced.decisions[: self.rounds]

    @cached_property
    def architectures(self) -> Mapping[str, Architecture]:
        """What the names of marks stand for; those of evaluations are their places."""
        return dict(_named(self.run))

    def opened(self) -> Architecture | None:
        """The architecture that is open, if one is.

        Raises:
            ValueError: if there is none of that name.
        """
        name = self.address.open
        if not name:
            return None
        if name in self.architectures:
            return self.architectures[name]
        if name.isdecimal() and int(name) < len(self.run.evaluations):
            full = self.run.inventory.full()
            counts = self.run.evaluations[int(name)].counts.tolist()
            return Architecture(full.base, tuple(zip(full, counts, strict=True)))
        raise ValueError(f"run '{self.name}' has no architecture '{name}' (any more)")


def _named(run: Run) -> Iterator[tuple[str, Architecture]]:
    for decision in run.decisions:
        yield f"before r{decision.round}", decision.before
        for each in decision.candidates:
            yield f"r{decision.round} {each.action}", each.action.apply(decision.before)
        yield f"after r{decision.round}", decision.after
    for number, point in enumerate(run.front, start=1):
        yield f"point {number}", point.architecture
