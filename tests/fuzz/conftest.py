from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.experiment import load_experiment
from experiments.unets import choose_unet
from search.action import Action
from search.decision import Candidate, Decision, SecondOpinion
from search.state import SearchState


@pytest.fixture(scope="session")
def recorded_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a search of the shapes world leaves after a decision, but for what pictures need."""
    folder = tmp_path_factory.mktemp("recorded")
    full = choose_unet("shapes").inventory.full()
    blocks = list(full)[:3]
    after = full.without(blocks[:1])
    candidates = tuple(
        Candidate(
            Action.parse(f"-{block}", full), 0.9, -0.01, 0.001, -0.5, 32, 0, SecondOpinion(0.1, 0.2)
        )
        for block in blocks
    )
    decision = Decision(
        1,
        "remove",
        "0" * 12,
        full,
        0.91,
        30.0,
        candidates,
        candidates[:1],
        after,
        0.9,
        29.5,
        ("so",),
    )
    SearchState(full, [decision], 128, 3.5).save(folder / "state.json")
    (folder / "experiment.toml").write_text(load_experiment(Path("demo")).to_toml())
    (folder / "result.json").write_text(json.dumps({"clip_before": 0.9, "clip_after": 0.8}))
    return folder


@pytest.fixture(scope="session")
def recorded_state(recorded_run: Path) -> Any:
    return json.loads((recorded_run / "state.json").read_text())
