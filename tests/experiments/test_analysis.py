"""The model analysis: figures of known UNets, sums that add up, and what a UNet is named by."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from diffusers import UNet2DConditionModel
from in_process import SMALL, Evounet, invented_table, write_json

from evaluators.latency import TableLatency
from evaluators.work import EvaluatorError
from experiments.analysis import Analysis, PartsRow, analyse
from experiments.shapes.diffusion import build_unet
from experiments.shapes.tokenizer import CONTEXT_LENGTH
from experiments.unets import CONFIGS, ChosenUNet, UNetSourceError, choose_unet
from latency_tables import MissingRowsError, load_table, write_table
from supernet.architecture import ArchitectureError, BlockId
from supernet.inventory import unet_config
from supernet.spec import Provenance, build_spec

RESNET, ATTENTION = BlockId("resnet", "down.1", 0), BlockId("cross_attention", "up.1", 1)


@pytest.fixture
def evounet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Evounet:
    tables = tmp_path / "tables"
    tables.mkdir()
    monkeypatch.setenv("EVOUNET_TABLES", str(tables))
    return Evounet(monkeypatch, capsys)


@pytest.fixture
def small(tmp_path: Path) -> ChosenUNet:
    return choose_unet(str(write_json(tmp_path / "small" / "config.json", SMALL)))


@pytest.fixture
def found(small: ChosenUNet) -> ChosenUNet:
    """A ResNet that changes channels removed, so that its shortcut stays, and a block added."""
    changed = small.inventory.full().with_multiplicities({RESNET: 0, ATTENTION: 3})
    return replace(small, architecture=changed)


def row(analysis: Analysis, stage: str, kind: str) -> PartsRow:
    return next(row for row in analysis.rows if (row.stage, row.kind) == (stage, kind))


def test_sd15_is_what_the_paper_starts_from() -> None:
    analysis = analyse(choose_unet("sd15"), [])
    assert analysis.total.parameters == 859_520_964
    assert (analysis.height, analysis.width, analysis.context_length) == (64, 64, 77)
    # SnapFusion, Table 3: (resolution, channels), cross-attention and ResNet blocks.
    expected = {
        "down.0": (64, 320, 2, 2),
        "down.1": (32, 640, 2, 2),
        "down.2": (16, 1280, 2, 2),
        "up.1": (16, 1280, 3, 3),
        "up.2": (32, 640, 3, 3),
        "up.3": (64, 320, 3, 3),
    }
    for stage, figures in expected.items():
        attention, resnet = row(analysis, stage, "cross_attention"), row(analysis, stage, "resnet")
        assert (resnet.height, resnet.channels, attention.count, resnet.count) == figures
    middle = [row(analysis, stage, "resnet").count for stage in ("down.3", "mid", "up.0")]
    assert sum(middle) == 7


@pytest.mark.parametrize(("name", "parameters"), [("sd21", 865_910_724), ("shapes", None)])
def test_other_built_in_unets(name: str, parameters: int | None) -> None:
    analysis = analyse(choose_unet(name), [])
    own = sum(weight.numel() for weight in build_unet().parameters())
    assert analysis.total.parameters == (parameters or own)
    assert analysis.context_length == (CONTEXT_LENGTH if name == "shapes" else 77)
    assert analysis.height == {"sd21": 96, "shapes": 16}[name]


def test_the_shapes_configuration_is_that_of_the_world() -> None:
    stored = json.loads((CONFIGS / "shapes.json").read_text())
    assert unet_config(stored) == unet_config(build_unet())


def test_resnets_cost_what_their_convolutions_do(small: ChosenUNet) -> None:
    """Counted by hand: down.1 has ResNets 8 -> 16 (with a shortcut) and 16 -> 16 at 4x4."""
    cost = row(analyse(small, []), "down.1", "resnet").cost
    temb = 4 * SMALL["block_out_channels"][0]
    parameters, macs = 0, 0
    for c_in, c_out in ((8, 16), (16, 16)):
        shortcut = c_in * c_out if c_in != c_out else 0
        weights = 9 * c_in * c_out + 9 * c_out * c_out + shortcut
        biases = c_out * (2 + (shortcut > 0))
        norms = 2 * c_in + 2 * c_out
        parameters += weights + biases + norms + (temb + 1) * c_out
        macs += 2 * (4 * 4 * weights + temb * c_out)  # two pictures
    assert (cost.parameters, cost.macs) == (parameters, macs)


@pytest.mark.parametrize("which", ["small", "found"])
def test_rows_add_up_to_the_total(which: str, request: pytest.FixtureRequest) -> None:
    unet: ChosenUNet = request.getfixturevalue(which)
    table = invented_table(unet.name)
    analysis = analyse(unet, [table])
    costs = [row.cost for row in analysis.rows]
    total, inventory = analysis.total, unet.inventory
    assert sum(cost.parameters for cost in costs) == total.parameters
    assert sum(cost.macs for cost in costs) == total.macs
    assert total.parameters == inventory.parameters(unet.architecture)
    assert sum(cost.latency_ms[0] for cost in costs) == pytest.approx(total.latency_ms[0])
    expected = TableLatency(inventory, table)(unet.architecture)
    assert total.latency_ms[0] == pytest.approx(expected)


def test_removed_and_added_blocks_are_counted(small: ChosenUNet, found: ChosenUNet) -> None:
    base, analysis = analyse(small, []), analyse(found, [])
    resnets = row(analysis, RESNET.stage, "resnet")
    assert (resnets.base_count, resnets.count) == (2, 1)
    attentions = row(analysis, ATTENTION.stage, "cross_attention")
    assert (attentions.base_count, attentions.count) == (3, 5)
    # The shortcut 8 -> 16 stays of the removed ResNet.
    saved = row(base, RESNET.stage, "resnet").cost.parameters - resnets.cost.parameters
    block = found.inventory.by_id[RESNET]
    assert block.remainder is not None
    assert saved == block.part.parameters - block.remainder.parameters
    assert block.remainder.parameters == 8 * 16 + 16


def test_tables_that_lack_rows_are_named_with_the_command(small: ChosenUNet) -> None:
    table = invented_table(small.name, "some")
    rows = dict(list(table.rows.items())[3:])
    analysis = analyse(small, [replace(table, rows=rows), invented_table(small.name, "all")])
    assert analysis.tables == ("all",)
    (coverage,) = analysis.uncovered
    assert len(coverage.missing) == 3
    assert coverage.summary == (
        f"latency table 'some' lacks 3 of {len(table.rows)} rows of this UNet; "
        "measure on a toy with: evounet profile UNET --table some"
    )


def test_the_analysis_is_printed_and_written(evounet: Evounet, tmp_path: Path) -> None:
    unet = write_json(tmp_path / "config.json", SMALL)
    write_table(invented_table(str(unet)), tmp_path / "tables")
    broken = write_table(invented_table(str(unet), "broken"), tmp_path / "tables")
    broken.write_text("")
    answer = evounet("analyze", unet, "--json", tmp_path / "new" / "analysis.json")
    assert answer.code == 0
    value = json.loads((tmp_path / "new" / "analysis.json").read_text())
    chosen = choose_unet(str(unet))
    assert value["tables"] == ["toy"]
    assert value["total"]["parameters"] == chosen.inventory.parameters(chosen.architecture)
    assert f"{value['total']['parameters']:,}" in answer.out
    assert f"{value['total']['latency_ms']['toy']:,.2f}" in answer.out
    assert "cross-attention" in answer.out
    assert f"left out: {broken}: the file is empty" in answer.out


def test_uncovered_tables_are_told_with_the_command_that_measures(
    evounet: Evounet, tmp_path: Path
) -> None:
    unet = write_json(tmp_path / "config.json", SMALL)
    write_table(invented_table(str(unet)), tmp_path / "tables")
    answer = evounet("analyze", unet, "--table", "toy", "--batch", 1)
    assert answer.code == 0
    assert f"with: evounet profile {unet} --batch 1 --table toy\n" in answer.out
    assert "no latency table covers this UNet" in answer.out
    assert "unknown latency table 'nokia'" in evounet.refused("analyze", unet, "--table", "nokia")


def test_a_search_names_the_command_too(small: ChosenUNet, tmp_path: Path) -> None:
    table = invented_table(small.name)
    lacking = replace(table, rows=dict(list(table.rows.items())[1:]))
    loaded = load_table(write_table(lacking, tmp_path), unet=small.arguments)
    command = f"with: evounet profile {small.name} --table {tmp_path / 'toy.toml'}"
    with pytest.raises(MissingRowsError, match=f"lacks 1 row:(?s:.)*{re.escape(command)}$"):
        TableLatency(small.inventory, loaded)


def test_folders_and_files_that_name_a_unet(found: ChosenUNet, tmp_path: Path) -> None:
    config = {**SMALL, "_class_name": "StandaloneUNet"}
    changed = {str(block): n for block, n in found.architecture.blocks if n != 1}
    provenance = Provenance(experiment="e", seed=0, evounet="0", weights=())
    spec = build_spec(found.inventory, found.architecture, (), None, provenance)
    run = tmp_path / "run"
    write_json(run / "unet" / "config.json", {**config, "multiplicities": changed})
    (run / "spec.json").write_text(spec.model_dump_json())
    for name in (run, run / "unet", run / "unet" / "config.json", run / "spec.json"):
        assert choose_unet(str(name)).architecture == found.architecture


def test_a_spec_is_shown_beside_its_base(
    evounet: Evounet, found: ChosenUNet, tmp_path: Path
) -> None:
    """Names as diffusers has them, and parameters that add up to those of the found UNet."""
    provenance = Provenance(experiment="mine", seed=3, evounet="0", weights=())
    spec = build_spec(found.inventory, found.architecture, (), None, provenance)
    (tmp_path / "spec.json").write_text(spec.model_dump_json())
    answer = evounet("analyze", tmp_path / "spec.json")
    assert answer.code == 0
    base, left = (f"{count / 1e6:.3f} M" for count in spec.parameters)
    changed = [line for line in answer.out.splitlines() if ", parameters " in line]
    assert changed[0].startswith("removed down_blocks.1.resnets.0, parameters " + base)
    assert changed[-1].startswith("added 2 copies behind up_blocks.1.attentions.1, parameters ")
    assert changed[-1].endswith(f" to {left}")
    assert len(changed) == 2
    assert "found by experiment 'mine', seed 3" in answer.out
    assert re.search(rf"whole +parameters +{base} +{left}", answer.out)


def test_a_pipelines_tokenizer_says_how_many_tokens_there_are(tmp_path: Path) -> None:
    write_json(tmp_path / "unet" / "config.json", SMALL)
    assert analyse(choose_unet(str(tmp_path)), []).context_length == 77
    write_json(tmp_path / "tokenizer" / "tokenizer_config.json", {"model_max_length": 5})
    assert analyse(choose_unet(str(tmp_path)), []).context_length == 5
    assert analyse(choose_unet(str(tmp_path), context_length=9), []).context_length == 9


def test_a_copy_of_a_built_in_unet_takes_as_many_tokens(tmp_path: Path) -> None:
    copy = write_json(tmp_path / "config.json", json.loads((CONFIGS / "shapes.json").read_text()))
    assert choose_unet(str(copy)).inventory == choose_unet("shapes").inventory


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({**SMALL, "_class_name": "AutoencoderKL"}, "'_class_name' is 'AutoencoderKL'; give"),
        ({"sample_size": 8}, "'_class_name' is None; give"),
        ([], "is not a JSON object"),
        ({"base": {}, "multiplicities": {}}, "field 'version' is None"),
        ({**SMALL, "multiplicities": {"resnet down.7/0": 0}}, "no block 'resnet down.7/0'"),
    ],
)
def test_files_that_are_no_unet(tmp_path: Path, value: object, message: str) -> None:
    path = write_json(tmp_path / "config.json", value)
    with pytest.raises((UNetSourceError, ArchitectureError), match=message):
        choose_unet(str(path))


def test_names_that_lead_nowhere(evounet: Evounet, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    assert "config.json: not readable as JSON" in evounet.refused("analyze", tmp_path)
    empty = tmp_path / "tables"
    assert "has neither config.json nor unet/config.json" in evounet.refused("analyze", empty)
    for name in ("sd16", tmp_path / "lost.json"):
        message = evounet.refused("analyze", name)
        assert f"unknown UNet '{name}'; give one of shapes, sd15, sd21, sdxl, the path" in message


def test_the_hub_is_asked_for_ids_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    def load_config(name: str, subfolder: str) -> dict[str, object]:
        asked.append((name, subfolder))
        if name == "someone/away":
            raise OSError("We couldn't connect\nto the Hub")
        return SMALL

    monkeypatch.setattr(UNet2DConditionModel, "load_config", load_config)
    assert choose_unet("someone/small").inventory.config == unet_config(SMALL)
    with pytest.raises(UNetSourceError, match=r"'someone/away' .* connect to the Hub\); .* go onl"):
        choose_unet("someone/away")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(UNetSourceError, match="unknown UNet 'runs/lost'"):
        choose_unet("runs/lost")
    assert asked == [("someone/small", "unet"), ("someone/away", "unet")]


def test_work_that_no_evaluator_can_do_ends_with_one_line_and_code_1(
    evounet: Evounet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not with 2, which is for what the user can mend in the input."""

    def fails(name: str, **options: object) -> None:
        raise EvaluatorError("a1b2 on prompts 0 to 31: failed on 3 evaluators; the last: no GPU")

    monkeypatch.setattr("experiments.unets.choose_unet", fails)
    answer = evounet("analyze", "sd15")
    assert answer.code == 1
    assert answer.err == (
        "evounet: a1b2 on prompts 0 to 31: failed on 3 evaluators; the last: no GPU\n"
    )
