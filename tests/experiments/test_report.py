"""The report: self-contained, complete in every state of a search, and true to the decisions."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from plotly.offline import get_plotlyjs

from experiments.report import ReportData, SampleSet, write_report
from experiments.report.block_map import block_map
from experiments.report.look import CLEAR, signed
from experiments.report.rounds import round_details
from experiments.report.stage_latency import stage_latency
from experiments.report.summary import summary
from experiments.report.tradeoff import tradeoff
from search.action import Action, removals
from search.decision import Candidate, Decision
from search.front import FrontPoint
from supernet.architecture import Architecture, BlockId
from supernet.inventory import Inventory, take_inventory, unet_config
from supernet.parts import Part

HEADINGS = (
    "CLIP score against latency",
    "Block map",
    "Latency by stage",
    "Samples",
    "Decisions",
    "What happened to the workers",
    "Repeat it",
)
CAPTION = "a <script>alert('red')</script> circle"


class AreaLatency:
    """A latency model in the place of a table: parts cost what they touch."""

    table = SimpleNamespace(metadata=SimpleNamespace(name="area <1>"))

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory

    def __call__(self, architecture: Architecture) -> float:
        return sum(self._part_ms(part) for part in self.inventory.parts(architecture))

    def saved_by_removing(self, block: BlockId) -> float:
        found = self.inventory.by_id[block]
        kept = self._part_ms(found.remainder) if found.remainder else 0.0
        return self._part_ms(found.part) - kept

    def _part_ms(self, part: Part) -> float:
        scale = {"resnet": 2.0, "cross_attention": 3.0}.get(part.signature.kind, 1.0)
        return scale * part.signature.height * part.signature.in_channels / 1000


@pytest.fixture(scope="module")
def latency() -> AreaLatency:
    config = {
        "sample_size": 16,
        "block_out_channels": (32, 64),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 16,
        "attention_head_dim": 2,
        "norm_num_groups": 8,
    }
    return AreaLatency(take_inventory(unet_config(config)))


@pytest.fixture
def decisions(latency: AreaLatency) -> tuple[Decision, ...]:
    """Two removals, a training that raises the CLIP score, and one addition."""
    full = latency.inventory.full()
    first, second = BlockId("resnet", "down.0", 0), BlockId("cross_attention", "up.1", 1)
    removal = _decide(latency, 1, "remove", full, (Action(-1, second), Action(-1, first)))
    grown = Action(1, BlockId("cross_attention", "mid", 0))
    return removal, _decide(latency, 2, "add", removal.after, (grown,))


def _decide(
    latency: AreaLatency,
    round_: int,
    phase: str,
    before: Architecture,
    taken: tuple[Action, ...],
) -> Decision:
    clip = 0.25 + 0.01 * round_
    actions = list(removals(before)) if phase == "remove" else list(taken)
    candidates = []
    for i, action in enumerate(actions):
        delta_ms = latency(action.apply(before)) - latency(before)
        delta = 0.002 * i * action.change
        candidates.append(Candidate(action, clip + delta, delta, 0.003, delta_ms, 32))
    after = before
    on_top = []
    for action in taken:
        [alone] = [c for c in candidates if c.action == action]
        on_top.append(replace(alone, delta_clip=alone.delta_clip - 0.01))
        after = action.apply(after)
    return Decision(
        round=round_,
        phase=phase,
        weights=f"weights {round_}",
        before=before,
        clip_before=clip,
        latency_before_ms=latency(before),
        candidates=tuple(candidates),
        executed=tuple(on_top),
        after=after,
        clip_after=clip - 0.005,
        latency_after_ms=latency(after),
    )


@pytest.fixture
def data(latency: AreaLatency, decisions: tuple[Decision, ...]) -> ReportData:
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    samples = SampleSet("base", images, (CAPTION, "a square"), (0.25, 0.27))
    return ReportData(
        title="run & report",
        inventory=latency.inventory,
        decisions=decisions,
        latency=latency,
        target_ms=5.0,
        samples=(samples, replace(samples, title="found")),
        result={
            "unet_ms_before": 10.0,
            "unet_ms_after": 6.0,
            "clip_before": 0.27,
            "clip_after": 0.26,
            "caption_accuracy_before": 0.9,
            "caption_accuracy_after": 0.85,
            "wall_s": 75.0,
        },
        commands=("evounet search demo.toml",),
    )


@pytest.fixture
def written(tmp_path, data: ReportData) -> str:
    """The report's HTML without plotly.js."""
    path = tmp_path / "report.html"
    write_report(path, data)
    return path.read_text(encoding="utf-8").replace(get_plotlyjs(), "")


def test_nothing_is_loaded_from_elsewhere(written):
    links = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]+)|url\(([^)]+)\)""", written)
    targets = [target for pair in links for target in pair if target]
    assert targets
    assert all(target.startswith(("#", "data:")) for target in targets)
    assert "<link" not in written
    assert "@import" not in written


def test_plotly_is_inlined_once(tmp_path, data):
    write_report(tmp_path / "report.html", data)
    assert (tmp_path / "report.html").read_text(encoding="utf-8").count(get_plotlyjs()) == 1


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
    assert "FID</dt><dd>12.50 <span>→</span> <b>13.25</b>" in full
    assert "+0.75" in full
    assert "KID</dt><dd>0.0100 <span>→</span> <b>0.0125</b>" in full
