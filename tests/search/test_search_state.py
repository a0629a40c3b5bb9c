"""The state of a search on disk: whole at any moment, and refused when it is not its own."""

from __future__ import annotations

import json
import locale
import os
from pathlib import Path

import pytest
from toy_search import ToySearch, toy_inventory, toy_latency, truth_by_place

from search.budget import Spent
from search.decision import Decision
from search.settings import EvolutionSettings
from search.state import STATE_VERSION, SearchState, StateError, write_atomically
from supernet.architecture import Architecture
from supernet.inventory import take_inventory, unet_config

FULL = toy_inventory().full()


@pytest.fixture(scope="module")
def decisions(tmp_path_factory: pytest.TempPathFactory) -> list[Decision]:
    """Of a search with three rounds of removals and one of additions."""
    latency = toy_latency()
    target_ms = 0.77 * latency(FULL)
    folder = tmp_path_factory.mktemp("search")
    chosen = EvolutionSettings(target_ms=target_ms, rounds=3, refine=0)
    search = ToySearch(folder, chosen, truth_by_place(latency.inventory))
    search.run()
    assert [d.phase for d in search.told] == ["remove", "remove", "remove", "add"]
    return search.told


@pytest.fixture
def saved(tmp_path: Path, decisions: list[Decision]) -> Path:
    path = tmp_path / "state.json"
    SearchState(FULL, list(decisions), 480, 12.5).save(path)
    return path


def test_a_state_reads_back(saved: Path, decisions: list[Decision]) -> None:
    state = SearchState.load(saved, FULL)
    assert state == SearchState(FULL, decisions, 480, 12.5)
    assert state.spent == Spent(len(decisions), 480, 12.5)
    assert state.architecture == decisions[-1].after


@pytest.mark.parametrize("version", [3, 4])
def test_a_state_of_an_older_version_is_read(
    saved: Path, decisions: list[Decision], version: int
) -> None:
    value = json.loads(saved.read_text()) | {"version": version}
    del value["pictures"], value["seconds"]
    if version == 3:
        for decision in value["decisions"]:
            del decision["remarks"]
    saved.write_text(json.dumps(value))
    assert SearchState.load(saved, FULL) == SearchState(FULL, decisions)


def test_without_a_file_a_search_begins_at_the_base(tmp_path: Path) -> None:
    state = SearchState.load(tmp_path / "state.json", FULL)
    assert state.decisions == []
    assert state.architecture == FULL


def test_decisions_are_lines_of_json_beside_the_state(
    saved: Path, decisions: list[Decision]
) -> None:
    lines = saved.with_name("decisions.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [decision.to_json() for decision in decisions]
    assert json.loads(saved.read_text())["version"] == STATE_VERSION
    assert sorted(os.listdir(saved.parent)) == ["decisions.jsonl", "state.json"]


@pytest.mark.parametrize("failing", [1, 2])
def test_a_save_that_is_interrupted_leaves_a_state_that_is_not_ahead_of_its_decisions(
    saved: Path, decisions: list[Decision], failing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = SearchState(FULL, decisions[:1])
    earlier.save(saved)
    replaced = 0
    replace = os.replace

    def interrupted(source: Path, target: Path) -> None:
        nonlocal replaced
        replaced += 1
        if replaced == failing:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            SearchState(FULL, decisions[:2]).save(saved)
    assert SearchState.load(saved, FULL) == earlier
    lines = saved.with_name("decisions.jsonl").read_text().splitlines()
    assert len(lines) == failing
    assert sorted(os.listdir(saved.parent)) == ["decisions.jsonl", "state.json"]


def test_text_is_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    usual = locale.setlocale(locale.LC_CTYPE)
    locale.setlocale(locale.LC_CTYPE, "C")
    try:
        write_atomically(tmp_path / "text", "Δ CLIP")
    finally:
        locale.setlocale(locale.LC_CTYPE, usual)
    assert (tmp_path / "text").read_bytes().decode("utf-8") == "Δ CLIP"


DAMAGE = {
    "cut off": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "no state": lambda text: "[]",
    "without decisions": lambda text: '{"version": 2, "base": "x"}',
    "of another kind": lambda text: text.replace('"phase"', '"fase"'),
    "with an unknown block": lambda text: text.replace("mid/1", "mid/9"),
    "with counts that are a list": lambda text: _edited(text, before=[]),
    "with a decision that is none": lambda text: json.dumps(json.loads(text) | {"decisions": [3]}),
    "with pictures that are none": lambda text: text.replace('"pictures": 480', '"pictures": []'),
    "with decisions that are none": lambda text: json.dumps(json.loads(text) | {"decisions": 3}),
}


def _edited(text: str, **changes: object) -> str:
    state = json.loads(text)
    state["decisions"][0] |= changes
    return json.dumps(state)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_state_is_refused_in_one_line(saved: Path, damage: str) -> None:
    text = DAMAGE[damage](saved.read_text())
    saved.write_text(text)
    assert_refused(saved, FULL, "restore it or start a new run folder")
    assert saved.read_text() == text


def test_bytes_that_are_no_text_are_refused(saved: Path) -> None:
    saved.write_bytes(b"\xff\xfe\x00")
    assert_refused(saved, FULL, "damaged")


def test_another_version_is_refused(saved: Path) -> None:
    saved.write_text(json.dumps(json.loads(saved.read_text()) | {"version": 99}))
    assert_refused(saved, FULL, f"version 99, this evounet reads version {STATE_VERSION}")


def test_the_state_of_another_unet_is_refused(saved: Path) -> None:
    other = take_inventory(unet_config(FULL.base.values | {"block_out_channels": (16, 16)})).full()
    assert_refused(saved, other, f"belongs to base UNet {FULL.base.digest}")


def assert_refused(path: Path, full: Architecture, expected: str) -> None:
    with pytest.raises(StateError) as caught:
        SearchState.load(path, full)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert expected in message
    assert len(message.splitlines()) == 1
