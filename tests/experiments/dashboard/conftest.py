"""Toy searches in run folders, the page over them, and a browser that looks at it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from looking import Look
from playwright.sync_api import Browser, ViewportSize, sync_playwright
from shown_runs import PHONE, begin, finish, renamed, served
from toy_runs import LATENCY

from experiments.browser import BROWSER_OPTIONS, find_browser
from latency_tables import write_table


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of two finished runs, of a UNet that two tables cover."""
    place = tmp_path_factory.mktemp("dashboard")
    for name, latency in (("toy", LATENCY), ("phone", PHONE)):
        about = renamed(latency.table, name)
        write_table(about, place / "tables")
    finish(begin(place / "runs" / "first"), rounds=2)
    finish(begin(place / "runs" / "second", seed=1, rounds=3), rounds=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVOUNET_TABLES", str(place / "tables"))
        yield place / "runs"


@pytest.fixture(scope="module")
def address(runs: Path) -> Iterator[str]:
    with served(runs) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=BROWSER_OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def look(browser: Browser) -> Iterator[Callable[..., Look]]:
    """Opens pages; in the end nothing may have gone wrong, and nothing left this machine."""
    looks: list[Look] = []

    def start(home: str, width: int = 1280, scheme: str = "light") -> Look:
        size: ViewportSize = {"width": width, "height": 800}
        look = Look(browser.new_page(viewport=size, color_scheme=scheme), home)
        look.watch()
        looks.append(look)
        return look

    yield start
    for each in looks:
        each.page.close()
        outside = [url for url in each.asked if not url.startswith((each.home, "data:", "blob:"))]
        assert not outside
        assert not each.faults


@pytest.fixture
def copied(runs: Path, tmp_path: Path) -> Path:
    """A folder with the first run alone, which may be written to."""
    shutil.copytree(runs / "first", tmp_path / "runs" / "first")
    return tmp_path / "runs"
