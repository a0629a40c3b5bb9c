"""``evounet plan``: another target from a run folder alone, and what it cannot be asked."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import pytest
from in_process import Evounet

from evaluators.job import Job, Scores
from evaluators.latency import TableLatency
from experiments.experiment import load_experiment
from experiments.run_folder import RunFolder
from experiments.unets import choose_unet
from latency_tables import load_table
from latency_tables.registry import SHIPPED as DEVICES
from search.decision import Decision
from search.state import SearchState
from search.store import EvaluationStore
from supernet.architecture import Architecture

TABLE = str(DEVICES / "epyc-1core-fp32.csv")
DEMO = load_experiment(Path("demo"), [f"latency.tables=['{TABLE}']"])
FULL = choose_unet("shapes").inventory.full()
LATENCY = TableLatency(choose_unet("shapes").inventory, load_table(TABLE))
CONDITIONS = "prompts and judge"


def scores(architecture: Architecture) -> Scores:
    """Every removal costs a little, those of cross-attention forty times as much."""
    lost = sum(40 if b.kind == "cross_attention" else 1 for b in architecture.removed)
    return Scores((0.9 - 0.0002 * lost, 0.8 - 0.0002 * lost))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has decided once; its store has scores under other conditions too."""
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "mine")
    folder.create(DEMO)
    for conditions in ("others", CONDITIONS):
        store = EvaluationStore(folder.evaluations, conditions)
        for each in (FULL, *(FULL.without([block]) for block in FULL)):
            found = scores(each) if conditions == CONDITIONS else Scores((0.1, 0.1))
            store.add(Job(each, range(2)), "weights", found, LATENCY(each), 1)
    after = FULL.without(list(FULL)[:2])
    ms = LATENCY(FULL), LATENCY(after)
    clip = fmean(scores(FULL).first)
    decision = Decision(1, "remove", "weights", FULL, clip, ms[0], (), (), after, 0.84, ms[1])
    SearchState(FULL, [decision]).save(folder.state)
    return folder.path


def test_another_target_is_planned_for(run: Path, evounet: Evounet) -> None:
    answer = evounet("plan", run, "--set", "latency.target_ratio=0.8")
    assert answer.code == 0, answer.err
    first, clip, table, *rest = answer.out.splitlines()
    assert "39 architectures" in first
    assert "nothing was drawn" in first
    assert clip.startswith("CLIP 0.8500 -> 0.8")
    reached = float(table.split("-> ")[1].removesuffix(" ms"))
    assert reached <= 0.8 * LATENCY(FULL)
    removed = next(line for line in rest if line.startswith("removed: "))
    assert removed.count("resnet") > removed.count("cross_attention")
    assert rest[-1].endswith("--run runs/planned --set latency.target_ratio=0.8")


def test_what_cannot_be_planned_is_refused(run: Path, evounet: Evounet, tmp_path: Path) -> None:
    assert "cannot be reached" in evounet.refused("plan", run, "--set", "latency.target_ratio=0.01")
    assert "unknown key" in evounet.refused("plan", run, "--set", "latency.targets=1")
    assert "is no run folder" in evounet.refused("plan", tmp_path)
    fresh = RunFolder(tmp_path / "fresh")
    fresh.create(DEMO)
    assert "has not decided anything yet" in evounet.refused("plan", fresh.path)
    assert not fresh.evaluations.exists()
