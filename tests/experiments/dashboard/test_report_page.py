"""The report in a real browser: drawn from one file, on any screen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from looking import Look
from playwright.sync_api import Page, expect
from small_report import small_data, small_latency

from experiments.report.document import document, section
from experiments.report.page import write_report
from experiments.report.samples import sample_grid
from experiments.training_log import TrainingPoint

_DRAWN = "() => [...document.querySelectorAll('.plot')].every(p => p.querySelector('.main-svg'))"
_MAP = "document.querySelector('[aria-label=\"Block map\"].plot')"

# Pictures with their titles, of which one begins before another ends in both directions.
_OVERLAPPING = """() => {
  const boxes = [...document.querySelectorAll('.pictures span, .pictures img')]
    .map(each => each.getBoundingClientRect());
  const apart = (a, b) => a.right <= b.left + 1 || b.right <= a.left + 1
    || a.bottom <= b.top + 1 || b.bottom <= a.top + 1;
  return boxes.flatMap((a, i) => boxes.slice(i + 1).filter(b => !apart(a, b)).map(() => i));
}"""

_REMOVED = f"{_MAP}.layout.shapes.filter(shape => shape.name).length"
_BY_VALUE = f"{_MAP}.data[0].marker.coloraxis === 'coloraxis'"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    points = tuple(TrainingPoint("round-1", step, 9, 1 / step, 1e-3, 5.0) for step in range(1, 10))
    data = small_data(small_latency())
    commands = ("evounet search " + "a-long-name" * 20,)
    write_report(
        path,
        replace(
            data, curves=points, round_samples=data.samples, commands=commands, conditions=commands
        ),
    )
    return path


def opened(look: Look) -> Page:
    look.page.goto(look.home)
    look.page.wait_for_function(_DRAWN)
    return look.page


def test_a_slider_goes_through_the_rounds(look: Callable[..., Look], report: Path) -> None:
    page = opened(look(report.as_uri()))
    assert page.evaluate(_REMOVED) == 2
    page.get_by_text("value", exact=True).click()
    expect(page.get_by_label("value", exact=True)).to_be_checked()
    page.wait_for_function(_BY_VALUE)
    slider = page.get_by_role("slider")
    slider.press("ArrowLeft")
    expect(page.locator(".slider output")).to_have_text("after round 1")
    page.wait_for_function(_BY_VALUE)
    slider.press("Home")
    expect(page.locator(".slider output")).to_have_text("base")
    page.wait_for_function(f"{_REMOVED} === 0")


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("sets", [2, 24])
def test_pictures_of_many_unets_lie_beside_each_other(
    look: Callable[..., Look], tmp_path: Path, sets: int, width: int
) -> None:
    [base, *_] = small_data(small_latency()).samples
    many = [replace(base, title=f"efficient-{i}-16-steps-guidance-1.5") for i in range(sets)]
    path = tmp_path / "report.html"
    body = section("samples", "Samples", sample_grid(many))
    path.write_text(document("steps", "table", "", {"samples": "Samples"}, body))
    page = look(path.as_uri(), width).page
    page.goto(path.as_uri())
    assert page.locator(".pictures > div").count() == sets * len(base.captions)
    assert page.evaluate(_OVERLAPPING) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_it_is_readable_for_all(
    look: Callable[..., Look], report: Path, width: int, scheme: str
) -> None:
    """axe finds nothing serious, and on a phone nothing is wider than the screen."""
    page = opened(look(report.as_uri(), width, scheme))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    violations = Axe().run(page).response["violations"]
    assert [v["id"] for v in violations if v["impact"] in ("serious", "critical")] == []
