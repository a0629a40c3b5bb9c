"""``evounet bench paper``: counts that can be checked, and a small run of the whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from in_process import Evounet

from experiments.benchmarks import paper
from experiments.unets import choose_unet
from experiments.whole.published import efficient, without_highest_attention
from supernet.spec import stage_rows


def test_models_of_published_size_are_counted_exactly() -> None:
    figures = {figure.name: figure for figure in paper._counts()}
    for name in ("sd15", "bk_sdm_base", "bk_sdm_small"):
        assert figures[f"{name}_parameters_off"].value == 0
    assert figures["without_highest_attention_parameters_m"].value == pytest.approx(846.8, abs=0.05)
    # By how Mid's four ResNets are split, 744 to 770 M, and 5.7 M of shortcuts that stay.
    assert 744 < figures["efficient_table_parameters_m"].value < 776


def test_the_efficient_unet_is_the_paper_s_table() -> None:
    """Table 3: Mid takes in the last down block, the middle and the first up block."""
    inventory = choose_unet("sd15").inventory
    rows = {row.stage: row for row in stage_rows(inventory, efficient(inventory.full()))}
    attentions = {stage: row.cross_attentions for stage, row in rows.items()}
    assert attentions["down.0"] == (2, 0)
    assert attentions["down.1"] == attentions["down.2"] == (2, 2)
    assert (attentions["mid"], attentions["up.1"], attentions["up.2"], attentions["up.3"]) == (
        (1, 1),
        (3, 6),
        (3, 3),
        (3, 0),
    )
    resnets = {stage: row.resnets for stage, row in rows.items()}
    mid = [resnets[stage] for stage in ("down.3", "mid", "up.0")]
    assert tuple(map(sum, zip(*mid, strict=True))) == (7, 4)
    assert (resnets["down.2"], resnets["up.1"]) == ((2, 1), (3, 2))
    assert sum(after for _, after in resnets.values()) == 17
    assert sum(after for _, after in attentions.values()) == 14
    lighter = without_highest_attention(inventory.full())
    assert sum(count == 0 for _, count in lighter.blocks) == 5


def test_its_latency_is_predicted_on_every_table_that_covers_it() -> None:
    figures = {figure.name: figure for figure in paper._predicted()}
    assert {"efficient_speedup_epyc_2core_fp32", "efficient_speedup_iphone14pro_derived"} <= set(
        figures
    )
    assert all(1 < figure.value < 3 for figure in figures.values())


@pytest.mark.slow
def test_a_small_run_has_every_figure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "paper.json"
    answer = Evounet(monkeypatch, capsys)("bench", "paper", "--quick", "--json", file)
    assert answer.code == 0, answer.err
    result = json.loads(file.read_text())
    goals = {name: goal["goal"] for name, goal in result["goals"].items()}
    assert goals["wall_speedup"] == ">= 43"
    assert goals["clip_ratio"] == ">= 1"
    assert goals["fid_ratio"] == "<= 1.05"
    figures = result["figures"]
    assert figures["steps_factor"] == 50 / 8
    assert figures["wall_speedup"] > figures["steps_factor"] * 0.5
    for kind in ("cross_attention", "resnet"):
        for place in ("down", "mid", "up"):
            assert figures[f"{kind}_{place}_latency_delta_ms"] < 0
            assert f"{kind}_{place}_clip_delta_robust" in figures
            assert f"{kind}_{place}_clip_delta_plain" in figures
