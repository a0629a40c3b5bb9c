"""What a person has chosen, as the query of the page's address: a link restores a view."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qs, urlencode


@dataclass(frozen=True)
class Address:
    """One view in one state. Its fields are the names in the query; ``""`` is the default of each.

    Attributes:
        view: key of a view.
        run: name of the run that is looked at.
        others: names of runs that are shown with it.
        table: name of a latency table.
        round: number of decisions to show, as text; all by default.
        color: what the blocks are coloured by.
        measure: what is broken down.
        open: the architecture that is open; see :func:`experiments.report.tradeoff.tradeoff`.
    """

    view: str = ""
    run: str = ""
    others: tuple[str, ...] = ()
    table: str = ""
    round: str = ""
    color: str = ""
    measure: str = ""
    open: str = ""

    @classmethod
    def parse(cls, query: str | None) -> Address:
        """From a query, with or without its question mark; what is unknown in it is left out."""
        given = parse_qs((query or "").removeprefix("?"))
        texts = {name: values[-1] for name, values in given.items() if name in _TEXTS}
        return cls(others=tuple(given.get("others", ())), **texts)

    def query(self) -> str:
        """With the question mark."""
        pairs = [(name, getattr(self, name)) for name in _TEXTS]
        pairs += [("others", name) for name in self.others]
        return "?" + urlencode([(name, value) for name, value in pairs if value])


_TEXTS = ("view", "run", "table", "round", "color", "measure", "open")
