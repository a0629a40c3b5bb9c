"""Does the dashboard open at once, and answer at once with ten thousand evaluations?

All of it is measured in a real browser: from the start of the process to the first page with its
picture, and from a person's hand to the picture that has changed.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from rich.console import Console

from experiments.benchmarks.benchmark import Figure, Goal, quartiles
from experiments.benchmarks.large_run import ROUNDS, TABLES, large_run
from experiments.browser import BROWSER_OPTIONS, find_browser
from experiments.progress import track

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_USUAL, _MANY = 150, 10_000  # evaluations: of the demo, and of a long search
_START_S, _INTERACTION_MS = 3.0, 200.0
_DRAWN = "#figure .main-svg"


def run(quick: bool, console: Console) -> list[Figure]:
    """Measure the dashboard over made-up runs."""
    starts, times = (3, 5) if quick else (7, 15)
    with TemporaryDirectory() as temporary, _browser() as browser:
        usual = large_run(Path(temporary) / "usual", _USUAL).path
        many = large_run(Path(temporary) / "many", _MANY).path
        figures = []
        for name, path, number, goal in (
            ("start_s", usual, _USUAL, Goal("<=", _START_S)),
            ("start_10k_s", many, _MANY, None),
        ):
            with track(console, f"starting over {number} evaluations", starts) as done:
                seconds = []
                for i in range(starts):
                    seconds.append(_start(browser, path))
                    done(i + 1, {})
            what = f"from the process to the first page with its picture, {number} evaluations"
            figures.append(Figure(name, median(seconds), what, quartiles(seconds), goal))
        with _served(many) as address:
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            figures += _interactions(page, address, times, console)
    return figures


def _interactions(page: Page, address: str, times: int, console: Console) -> list[Figure]:
    what = {
        "table_ms_10k": ("another latency table prices all of them", _switch_table),
        "hover_ms_10k": ("a mark tells what it is", _hover),
        "slider_ms_10k": ("the block map shows another round", _slide),
    }
    figures = []
    for name, (text, measure) in what.items():
        with track(console, text, times) as done:
            taken = []
            for i, ms in enumerate(measure(page, address, times), start=1):
                taken.append(ms)
                done(i, {})
        figures.append(Figure(name, median(taken), f"median: {text}", quartiles(taken)))
    slowest = max(figures, key=lambda figure: figure.value)
    whole = Figure(
        "interaction_ms_10k",
        slowest.value,
        f"the slowest of these medians, {_MANY} evaluations",
        slowest.spread,
        Goal("<=", _INTERACTION_MS),
    )
    return [*figures, whole]


def _switch_table(page: Page, address: str, times: int) -> Iterator[float]:
    _open(page, address)
    for i in range(times + 2):
        ms = page.evaluate(_CHANGE, ["select[data-key=table]", TABLES[(i + 1) % 2]])
        if i >= 2:  # each table has been seen by then
            yield ms


def _slide(page: Page, address: str, times: int) -> Iterator[float]:
    _open(page, f"{address}?view=blocks")
    for i in range(times):
        yield page.evaluate(_CHANGE, ["#slide-round", str(i % ROUNDS)])


def _hover(page: Page, address: str, times: int) -> Iterator[float]:
    _open(page, address)
    for i in range(times):
        yield page.evaluate(_POINT, 97 * i)


def _open(page: Page, address: str) -> None:
    page.goto(address)
    page.wait_for_selector(_DRAWN)
    page.wait_for_timeout(1000)  # until nothing of the beginning is under way any more


# From a control's change to the frame in which the picture that it asks for is on the screen.
_CHANGE = """([selector, value]) => new Promise(done => {
  const plot = document.querySelector("#figure .js-plotly-plot");
  const field = document.querySelector(selector), from = performance.now();
  plot.once("plotly_afterplot", () =>
    requestAnimationFrame(() => setTimeout(() => done(performance.now() - from))));
  field.value = value;
  for (const type of ["input", "change"])
    field.dispatchEvent(new Event(type, { bubbles: true }));
})"""

# From the pointer's arrival at a mark to the frame with its label.
_POINT = """which => new Promise(done => {
  const plot = document.querySelector("#figure .js-plotly-plot");
  const drag = plot.querySelector(".nsewdrag"), box = plot.getBoundingClientRect();
  const { xaxis, yaxis, _size } = plot._fullLayout;
  const trace = plot._fullData.find(each => each.type === "scattergl");
  const x = box.left + _size.l + xaxis.d2p(trace.x[which]);
  const y = box.top + _size.t + yaxis.d2p(trace.y[which]);
  const from = performance.now();
  plot.once("plotly_hover", () =>
    requestAnimationFrame(() => setTimeout(() => done(performance.now() - from))));
  for (const type of ["mouseover", "mousemove"])
    drag.dispatchEvent(new MouseEvent(type, { clientX: x, clientY: y, bubbles: true }));
})"""


def _start(browser: Browser, run_: Path) -> float:
    """Seconds from the process to the page."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    begun = time.perf_counter()
    with _served(run_) as address:
        page.goto(address)
        page.wait_for_selector(_DRAWN)
        taken = time.perf_counter() - begun
        page.close()
    return taken


@contextmanager
def _served(run_: Path) -> Iterator[str]:
    """A process of its own, as a person would start it; its address."""
    command = [sys.executable, "-m", "experiments.cli", "dashboard", str(run_), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith("dashboard: "):
            raise RuntimeError("the dashboard did not start; it has said why above")
        yield line.split()[1]
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _browser() -> Iterator[Any]:
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError as error:
        raise ValueError(
            "bench dashboard needs a browser that can be driven: pip install playwright"
        ) from error
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=BROWSER_OPTIONS)
        yield browser
        browser.close()
