"""The page in a real browser: what a person sees of a search, and what they can do with it."""

from __future__ import annotations

import csv
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from looking import Look
from playwright.sync_api import expect
from shown_runs import PHONE, begin, finish, served
from toy_runs import FULL, LATENCY

from evaluators.job import Job, Scores
from evaluators.pool_events import PoolEvent
from experiments.dashboard.views import VIEWS
from experiments.json_lines import append_line
from experiments.live import Live, Racing
from experiments.run_folder import RunFolder
from search.recorded_evaluations import RecordedEvaluations
from search.state import SearchState, write_atomically
from search.store import EvaluationStore
from supernet.spec import read_spec

Looking = Callable[..., Look]


def evaluated(run: Path) -> RecordedEvaluations:
    evaluations = RecordedEvaluations(run / "evaluations.db", FULL)
    evaluations.read()
    return evaluations


def decisions(run: Path) -> list:
    return SearchState.load(run / "state.json", FULL).decisions


def test_shows_every_architecture_at_its_latency(look: Looking, address: str, runs: Path) -> None:
    """By the objective's table, and once it is chosen by another one."""
    here = look(address)
    page = here.open("?run=first")
    evaluations = evaluated(runs / "first")
    architectures = [evaluations.architecture(each) for each in evaluations]
    assert_covers(here.numbers("x"), [LATENCY(each) for each in architectures])
    assert_covers(here.numbers("y"), [each.clip for each in evaluations])
    page.get_by_label("Latency table").select_option("phone")
    expect(page.locator(".xtitle")).to_contain_text("phone")
    assert_covers(here.numbers("x"), [PHONE(each) for each in architectures])
    assert query_of(page.url)["table"] == ["phone"]


def assert_covers(shown: list[float], wanted: list[float]) -> None:
    """Every wanted number is among those shown."""
    assert shown
    missing = [each for each in wanted if min(abs(each - other) for other in shown) > 1e-6]
    assert not missing


def query_of(url: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(url).query)


def test_a_mark_tells_shows_its_picture_and_opens(look: Looking, address: str, runs: Path) -> None:
    here = look(address)
    page = here.open("?run=first")
    x, y = page.evaluate(_PLACE_OF, "before r1")
    page.mouse.move(x, y)
    expect(page.locator(".hoverlayer")).to_contain_text("before round 1")
    picture = page.locator(".sample img")
    expect(picture).to_have_attribute("alt", "base, CLIP 0.250: a <red> circle")
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 16
    page.mouse.click(x, y)
    panel = page.get_by_role("region", name="The architecture that is open")
    expect(panel).to_contain_text(FULL.id)
    page.get_by_role("button", name="after round 1").click()
    after = decisions(runs / "first")[0].after
    expect(panel).to_contain_text(after.id)
    link = page.url
    again = look(address).page
    again.goto(link)
    expect(again.get_by_role("region", name="The architecture that is open")).to_contain_text(
        after.id
    )
    with again.expect_download() as download:
        again.get_by_role("link", name="spec.json").click()
    spec = read_spec(download.value.path())
    assert spec.multiplicities == {str(block): count for block, count in after.blocks}
    assert spec.architecture() == after
    again.get_by_role("button", name="Close").click()
    expect(again.locator(".panel")).to_have_count(0)


_PLACE_OF = """name => {
  const plot = document.querySelector("#figure .js-plotly-plot");
  const box = plot.getBoundingClientRect(), { xaxis, yaxis, _size } = plot._fullLayout;
  for (const trace of plot._fullData) {
    const i = (trace.customdata || []).indexOf(name);
    if (i >= 0) return [box.left + _size.l + xaxis.d2p(trace.x[i]),
                        box.top + _size.t + yaxis.d2p(trace.y[i])];
  }
}"""


def test_the_slider_goes_through_the_rounds(look: Looking, address: str, runs: Path) -> None:
    here = look(address)
    page = here.open("?run=second&view=blocks")
    slider = page.get_by_role("slider")
    made = decisions(runs / "second")
    assert len(made) > 1
    for shown in (len(made), 1, 0):
        slider.fill(str(shown))
        removed = made[shown - 1].after.removed if shown else ()
        page.wait_for_function(_DASHED, arg=len(removed))
    assert query_of(page.url)["round"] == ["0"]
    page.get_by_role("button", name="latency it takes").click()
    expect(page.locator("#figure .infolayer")).to_contain_text("ms")
    page.go_back()
    expect(page.get_by_role("button", name="block kind")).to_have_attribute("aria-pressed", "true")


_DASHED = """count => document.querySelector("#figure .js-plotly-plot").layout.shapes
    .filter(shape => shape.name).length === count"""


def test_what_is_seen_can_be_taken_away(look: Looking, address: str) -> None:
    page = look(address).open("?run=first&view=blocks")
    with page.expect_download() as table:
        page.get_by_role("link", name="CSV").click()
    rows = list(csv.DictReader(Path(table.value.path()).read_text().splitlines()))
    assert {row["block"] for row in rows} == {str(block) for block in FULL}
    full = LATENCY(FULL)
    for block in FULL:
        [row] = [row for row in rows if row["block"] == str(block)]
        assert float(row["latency (ms)"]) == pytest.approx(full - LATENCY(FULL.without([block])))
    with page.expect_download() as picture:
        page.get_by_role("button", name="PNG").click()
    assert Path(picture.value.path()).read_bytes().startswith(b"\x89PNG")


def test_runs_lie_over_each_other_and_beside_each_other(look: Looking, address: str) -> None:
    here = look(address)
    page = here.open("?run=first")
    page.get_by_role("button", name="second").click()
    expect(page.locator(".legendtext").nth(1)).to_contain_text("second: evolution, seed 1")
    page.get_by_role("button", name="Compare").click()
    differing = page.get_by_role("table", name="Settings that differ")
    expect(differing.get_by_role("row").filter(has_text="search.rounds")).to_contain_text("3")
    expect(differing).not_to_contain_text("search.strategy")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everyone_can_use_it(look: Looking, address: str, scheme: str) -> None:
    """axe finds nothing serious, and on a phone nothing is wider than the screen."""
    here = look(address, width=390, scheme=scheme)
    views = VIEWS if scheme == "light" else ("tradeoff", "live", "compare")  # colours of all kinds
    for view in views:
        page = here.open(f"?run=first&view={view}&open=after+r1")
        found = Axe().run(page).response["violations"]
        serious = [each for each in found if each["impact"] in ("serious", "critical")]
        told = [(each["id"], [node["html"] for node in each["nodes"]]) for each in serious]
        assert not told, json.dumps(told, indent=1)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, view


def test_the_theme_is_chosen_and_kept(look: Looking, address: str) -> None:
    page = look(address).open("?run=first")
    color = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(color) == "rgb(255, 255, 255)"
    page.get_by_role("button", name="Dark or light").click()
    assert page.evaluate(color) == "rgb(18, 22, 27)"
    page.reload()
    assert page.evaluate(color) == "rgb(18, 22, 27)"


def test_a_damaged_run_stands_beside_a_good_one(look: Looking, copied: Path) -> None:
    bad = copied / "bad"
    bad.mkdir()
    (bad / "experiment.toml").write_text("latency = 3\nsearch = {}")
    with served(copied) as address:
        page = look(address).open("?run=bad")
        expect(page.locator(".error")).to_contain_text("bad/experiment.toml: is not the experiment")
        page.goto(f"{address}?run=first")
        expect(page.locator("#figure .xtitle")).to_be_visible()
        page.get_by_role("button", name="Compare").click()
        expect(page.locator(".empty").first).to_contain_text("bad/experiment.toml")
        expect(page.get_by_role("table", name="Figures")).to_contain_text("first")
        shutil.rmtree(copied / "first")
        page.get_by_role("button", name="Block map").click()
        expect(page.locator(".error")).to_contain_text("there is no run 'first' here")
        page.close()  # before its server


def test_follows_a_search_without_being_asked(look: Looking, runs: Path, tmp_path: Path) -> None:
    """From nothing to the first evaluation, to decisions, to the end, without a reload."""
    folder = begin(tmp_path / "runs" / "new")
    with served(tmp_path / "runs") as address:
        here = look(address)
        page = here.open()
        expect(page.locator(".empty")).to_contain_text("has not evaluated anything yet")
        store = EvaluationStore(folder.evaluations, "toy")
        store.add(Job(FULL, range(4)), "w0", Scores((0.5,) * 4), LATENCY(FULL), 1)
        page.wait_for_selector("#plot:not([hidden]) .main-svg")
        assert here.numbers("y") == [0.5]
        finish(folder, rounds=2)
        last = decisions(folder.path)[-1].round
        expect(page.get_by_role("button", name=f"after round {last}")).to_be_visible()
        page.wait_for_function(_PLACE_OF, arg=f"after r{last}")
        assert_covers(here.numbers("y"), [each.clip_after for each in decisions(folder.path)])
        page.get_by_role("button", name="Samples").click()
        expect(page.locator(".card figcaption").first).to_have_text("a <red> circle")
        for picture in page.locator(".card img").all():
            assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 16
        page.close()  # before its server


def test_tells_what_a_search_does_at_the_moment(look: Looking, copied: Path) -> None:
    run = RunFolder(copied / "first")
    run.result.unlink()
    fault = PoolEvent.now("worker lost", "evaluator 2", "its batch is done by others")
    append_line(run.faults, fault.to_json())
    tell(run, done=10)
    with served(copied) as address:
        page = look(address).open("?view=live")
        expect(page.locator(".status")).to_have_text("Running: round 3.")
        expect(page.locator(".facts")).to_contain_text("3 of 4")
        expect(page.locator(".facts")).to_contain_text("7 actions open on 64 prompts")
        expect(page.get_by_role("table")).to_contain_text("its batch is done by others")
        bar = page.get_by_role("progressbar", name="round 3: scoring")
        expect(bar).to_have_attribute("aria-valuenow", "25")
        tell(run, done=30)
        expect(bar).to_have_attribute("aria-valuenow", "75")
        tell(run, done=30, ended=True)
        expect(page.locator(".status")).to_contain_text(f"'evounet resume {run.path}' continues it")
        page.close()  # before its server


def tell(run: RunFolder, done: int, ended: bool = False) -> None:
    """What a search that is at work leaves."""
    live = Live(
        updated=time.time(),
        ended=ended,
        round=3,
        doing="round 3: scoring",
        done=done,
        total=40,
        left_s=75.0,
        racing=Racing(open=7, decided=5, prompts=64),
        workers=3,
        wanted=4,
        pictures=1234,
        pictures_per_s=2.5,
    )
    write_atomically(run.live, live.model_dump_json())
