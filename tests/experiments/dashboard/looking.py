"""A page of a browser, and what is seen on it."""

from __future__ import annotations

from dataclasses import dataclass, field

from playwright.sync_api import Page, Request, expect

expect.set_options(timeout=20_000)  # a busy machine draws slowly


@dataclass
class Look:
    """A page of the browser, and what went wrong on it."""

    page: Page
    home: str
    faults: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def watch(self) -> None:
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("requestfailed", self._failed)
        self.page.on(
            "console",
            lambda said: self.faults.append(said.text) if said.type == "error" else None,
        )
        self.page.on("request", lambda each: self.asked.append(each.url))

    def _failed(self, request: Request) -> None:
        # What becomes a download, or is left behind by going on, is aborted by the browser itself.
        if request.failure != "net::ERR_ABORTED":
            self.faults.append(f"{request.failure}: {request.url}")

    def open(self, query: str = "") -> Page:
        """Go there, and wait until it is drawn."""
        self.page.goto(self.home + query)
        self.page.wait_for_selector(
            "#plot:not([hidden]) .main-svg, .card, .empty, .status, .scroll"
        )
        return self.page

    def numbers(self, axis: str) -> list[float]:
        """What all marks of the picture stand at."""
        return list(self.page.evaluate(_MARKS, axis))


_MARKS = """axis => document.querySelector("#figure .js-plotly-plot")._fullData
    .filter(trace => trace.customdata)
    .flatMap(trace => Array.from(trace[axis])).filter(value => value !== null)"""
