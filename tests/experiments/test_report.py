"""The report: self-contained, complete in every state of a search, and true to the decisions."""

from __future__ import annotations

import base64
import gzip
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from plotly.offline import get_plotlyjs
from small_report import AreaLatency, small_data, small_decisions, small_latency

from experiments.live import Live, Racing
from experiments.report.block_map import block_map
from experiments.report.data import ReportData, SampleSet
from experiments.report.look import CLEAR, signed
from experiments.report.page import MAX_BYTES, write_report
from experiments.report.rounds import round_details
from experiments.report.stage_latency import stage_latency, stage_parameters
from experiments.report.summary import summary
from experiments.report.tradeoff import Cloud, tradeoff
from experiments.report.training_curves import training_curves
from experiments.training_log import TrainingPoint
from search.decision import Decision
from search.front import FrontPoint

HEADINGS = (
    "CLIP score against latency",
    "Block map",
    "Latency and parameters by stage",
    "Samples",
    "Training",
    "Decisions",
    "State",
    "Repeat it",
)


@pytest.fixture(scope="module")
def latency() -> AreaLatency:
    return small_latency()


@pytest.fixture
def decisions(latency: AreaLatency) -> tuple[Decision, ...]:
    return small_decisions(latency)


@pytest.fixture
def data(latency: AreaLatency) -> ReportData:
    return small_data(latency)


@pytest.fixture
def written(tmp_path, data: ReportData) -> str:
    """The report's HTML without plotly.js."""
    return PLOTLY.sub("", html_of(tmp_path, data))


PLOTLY = re.compile(r'<script type="application/gzip" id="plotly">([^<]*)</script>')


def html_of(folder: Path, data: ReportData) -> str:
    write_report(folder / "report.html", data)
    return (folder / "report.html").read_text(encoding="utf-8")


def test_nothing_is_loaded_from_elsewhere(written):
    links = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]+)|url\(([^)]+)\)""", written)
    targets = [target for pair in links for target in pair if target]
    assert targets
    assert all(target.startswith(("#", "data:")) for target in targets)
    assert "<link" not in written
    assert "@import" not in written


def test_plotly_is_packed_into_the_page_once(tmp_path, data):
    [packed] = PLOTLY.findall(html_of(tmp_path, data))
    assert gzip.decompress(base64.b64decode(packed)).decode() == get_plotlyjs()


def test_a_report_is_one_to_mail(tmp_path, data, decisions):
    """However many rounds and pictures there are; of some rounds there is less then."""
    photo = torch.rand(8, 3, 512, 512, generator=torch.Generator().manual_seed(0))
    captions, scores = ("a photo",) * 8, (0.25,) * 8
    many = tuple(replace(decisions[i % 2], round=i + 1) for i in range(40))
    titles = ["base", *(f"round {decision.round}" for decision in many)]
    sets = tuple(SampleSet(title, photo, captions, scores) for title in titles)
    html = html_of(tmp_path, replace(data, decisions=many, round_samples=sets))
    assert len(html.encode()) <= MAX_BYTES == 5_000_000
    assert html.count("left out") >= 20
    assert "Candidates of round 40" in html
    assert "<span>round 40</span>" in html
    assert all(f"<b>Round {decision.round}</b>" in html for decision in many)


def test_few_rounds_are_shown_in_full(tmp_path, data):
    html = html_of(tmp_path, data)
    assert "left out" not in html
    names = re.findall(r'<script type="application/json" data-name="([^"]+)">', html)
    assert names == ["base", "after round 1", "after round 2"]


def test_curves_follow_one_another(data):
    points = [
        TrainingPoint(name, step, 20, loss, 1e-3, None if step == 10 else 64.0)
        for name, loss in (("round-1", 0.5), ("final", 0.25))
        for step in (10, 20)
    ]
    figure = training_curves(points)
    means = [trace for trace in figure.data if trace.customdata is not None]
    assert [tuple(trace.x) for trace in means] == [(10, 20), (30, 40)]
    assert [tuple(trace.y) for trace in means] == [(0.5, 0.5), (0.25, 0.25)]
    assert tuple(means[1].customdata[1]) == (20, 20, 0.25, ", 64.0 pictures/s")
    rates = [trace for trace in figure.data if trace.yaxis == "y2"]
    assert [tuple(trace.y) for trace in rates] == [(1e-3, 1e-3)] * 2


def test_what_a_search_does_is_told_while_it_runs(tmp_path, data):
    live = Live(
        updated=1e9,
        ended=False,
        round=3,
        doing="round 3: architectures, about",
        done=5,
        total=60,
        left_s=95.0,
        racing=Racing(open=12, decided=26, prompts=48),
        workers=3,
        wanted=4,
        pictures=1200,
        pictures_per_s=2.5,
    )
    html = html_of(tmp_path, replace(data, result=None, live=live))
    for text in (
        "round 3: architectures, about: 5 of 60",
        "1 min 35 s",
        "12 actions open on 48 prompts, 26 decided",
        "3 of 4",
        "1,200, 2.50 per second",
    ):
        assert text in html
    assert "evounet resume" in html_of(tmp_path, replace(data, result=None))


@pytest.mark.parametrize("heading", HEADINGS)
def test_every_view_has_its_heading(written, heading):
    assert re.search(rf"<h2[^>]*>{heading}</h2>", written)


def test_text_from_data_is_escaped(written):
    assert "<script>alert" not in written
    assert "a &lt;script&gt;alert(&#x27;red&#x27;)&lt;/script&gt; circle" in written
    assert "run &amp; report" in written
    assert "area <1>" not in written


def test_the_header_shows_what_was_measured(written):
    head = written[: written.index("<nav")]
    for text in ("10.00", "6.00", "0.2600", "90.0", "85.0", "<b>2</b> removed, <b>1</b> added"):
        assert text in head


def test_a_search_without_decisions_says_what_to_expect(tmp_path, data):
    path = tmp_path / "report.html"
    write_report(path, replace(data, decisions=(), samples=(), result=None))
    html = path.read_text(encoding="utf-8")
    assert "No decision yet" in html
    assert "No pictures yet" in html
    assert all(f">{heading}</h2>" in html for heading in HEADINGS)


def test_a_search_under_way_shows_its_clip_scores(tmp_path, data):
    path = tmp_path / "report.html"
    write_report(path, replace(data, result=None))
    html = path.read_text(encoding="utf-8")
    assert "0.2600 <span>→</span> <b>0.2650</b>" in html
    assert "UNet latency by the clock" not in html


def test_a_report_is_replaced_whole(tmp_path, data, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_report(path, data)
    assert path.read_text() == "old"
    write_report(path, data)
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert os.listdir(tmp_path) == ["report.html"]


def test_the_path_runs_through_the_decisions(decisions):
    traces = {trace.name: trace for trace in tradeoff(decisions, 5.0, "table").data}
    first, second = decisions
    steps = [point for d in decisions for point in (_before(d), _after(d), (None, None))]
    assert _points(traces["decision"]) == steps
    assert _points(traces["training between rounds"]) == [
        _after(first),
        _before(second),
        (None, None),
    ]


def test_a_front_is_drawn_with_the_command_for_each_of_its_points(decisions):
    last = decisions[-1]
    points = [FrontPoint(last.before, 4.0, 0.8), FrontPoint(last.after, 5.5, 0.85)]
    figure = tradeoff(decisions, 5.0, "table", points)
    [front] = [trace for trace in figure.data if trace.name == "front"]
    assert _points(front) == [(4.0, 0.8), (5.5, 0.85)]
    assert front.hovertext[1].endswith("evounet export RUN --point 2")
    assert "front" not in {trace.name for trace in tradeoff(decisions, 5.0, "table").data}


def test_every_candidate_is_drawn_where_it_was_scored(decisions):
    figure = tradeoff(decisions, 5.0, "table")
    drawn = [p for t in figure.data if "candidates" in (t.name or "") for p in _points(t)]
    scored = [
        (d.latency_before_ms + c.delta_latency_ms, c.clip) for d in decisions for c in d.candidates
    ]
    assert sorted(drawn) == sorted(scored)


def test_the_block_map_marks_exactly_what_changed(latency, decisions):
    figure = block_map(latency, decisions)
    found = decisions[-1].after
    outlined = [shape.name for shape in figure.layout.shapes if shape.name]
    assert sorted(outlined) == sorted(map(str, found.removed))
    colors = [color for trace in figure.data[:2] for color in trace.marker.color]
    assert colors.count(CLEAR) == len(found.removed)
    texts = [text for trace in figure.data[:2] for text in trace.text]
    assert len(texts) == len(found.blocks)
    assert sorted(text for text in texts if "<br>" in text or "×" in text) == [
        "<b>A</b><br>r1",
        "<b>A×2</b><br>r2",
        "<b>R</b><br>r1",
    ]


def test_the_bars_add_up_to_the_unet(latency, decisions):
    figure = stage_latency(latency, decisions[-1].after)
    base, found = (
        sum(sum(bar.x) for bar in figure.data if bar.type == "bar" and bar.showlegend is shown)
        for shown in (False, True)
    )
    assert base == pytest.approx(latency(latency.inventory.full()))
    assert found == pytest.approx(latency(decisions[-1].after))


def test_the_bars_of_parameters_add_up_to_the_unet(latency, decisions):
    found = decisions[-1].after
    figure = stage_parameters(latency.inventory, found)
    for shown, architecture in ((False, latency.inventory.full()), (True, found)):
        bars = [bar for bar in figure.data if bar.type == "bar" and bar.showlegend is shown]
        total = 1e6 * sum(sum(bar.x) for bar in bars)
        assert total == pytest.approx(latency.inventory.parameters(architecture))


def test_candidates_are_listed_in_the_order_of_choice(decisions):
    """What was executed first, as it was scored then; then the others by their value."""
    removal = decisions[0]
    page = round_details([removal])
    listed = re.findall(r"</i> −(\S+ \S+)</th>", page)
    taken = [str(action.target) for action in removal.taken]
    left = [c for c in removal.candidates if c.action not in removal.taken]
    others = [str(c.action.target) for c in sorted(left, key=lambda c: c.value)]
    assert listed == taken + others
    for candidate in removal.executed:
        assert f"<td>{signed(candidate.delta_clip, 4)} ± 0.0059" in page


def _before(decision: Decision) -> tuple[float, float]:
    return decision.latency_before_ms, decision.clip_before


def _after(decision: Decision) -> tuple[float, float]:
    return decision.latency_after_ms, decision.clip_after


def _points(trace) -> list[tuple[float | None, float | None]]:
    return list(zip(trace.x, trace.y, strict=True))


def test_the_head_has_every_figure_of_the_result(data: ReportData) -> None:
    assert data.result is not None
    others = {"fid_before": 12.5, "fid_after": 13.25, "kid_before": 0.01, "kid_after": 0.0125}
    plain, full = (summary(replace(data, result=data.result | more)) for more in ({}, others))
    assert "FID" not in plain
    assert "FID</dt><dd>12.500 <span>→</span> <b>13.250</b>" in full
    assert "+0.75" in full
    assert "KID</dt><dd>0.0100 <span>→</span> <b>0.0125</b>" in full


def test_what_else_was_evaluated_is_in_the_plot(tmp_path, data: ReportData) -> None:
    others = Cloud(np.array([3, 7]), np.array([4.5, 4.25]), np.array([0.2125, 0.225]))
    best = Cloud(np.array([7]), np.array([4.25]), np.array([0.225]))
    html = html_of(tmp_path, replace(data, others=others, best=best))
    assert "other evaluations" in html
    assert "other evaluations" not in html_of(tmp_path, data)
