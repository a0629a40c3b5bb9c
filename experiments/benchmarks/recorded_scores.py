"""Scores per prompt of every removal in the rounds of a search that judged all on all prompts.

Such a search is made by, for instance::

    evounet search demo --run runs/recorded --set search.racing=false --set search.recheck=0 \\
        --set search.rounds=4 --set evaluation.prompts.count=512 --set search.grow=false \\
        --set training.round.steps=0 --set training.final.steps=0
    python -m experiments.benchmarks.recorded_scores runs/recorded recorded.safetensors
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from search.decision import Decision
from search.state import SearchState
from search.store import EvaluationStore
from supernet.architecture import Architecture
from supernet.checkpoint import load_tensors, save_tensors

SHIPPED = Path(__file__).parent / "recorded" / "shapes_removals.safetensors"


@dataclass(frozen=True)
class RecordedRound:
    """One decision's actions, each on all prompts.

    Attributes:
        base_ms: latency of the architecture that was judged.
        actions: removals, as text.
        delta_latency_ms: of each, ``(actions,)``, fp64.
        before: scores of the architecture that was judged, ``(prompts,)``, fp64.
        after: scores with each action executed, ``(actions, prompts)``, fp64.
    """

    base_ms: float
    actions: tuple[str, ...]
    delta_latency_ms: Tensor
    before: Tensor
    after: Tensor


def read_search(run: Path, full: Architecture, conditions: str) -> list[RecordedRound]:
    """The rounds of a finished search from its folder.

    Args:
        run: the folder.
        full: the base with every block once.
        conditions: of its scores, as its store has them.

    Raises:
        ValueError: if it is no such folder, or its actions were not all judged on all prompts.
    """
    decisions = SearchState.load(run / "state.json", full).decisions
    if not decisions:
        raise ValueError(f"{run}: no decisions there; give the run folder of a finished search")
    scores = EvaluationStore(run / "evaluations.db", conditions)
    return [_round(run, scores, each) for each in decisions if each.phase == "remove"]


def _round(run: Path, scores: EvaluationStore, decision: Decision) -> RecordedRound:
    def of(architecture: Architecture) -> list[float]:
        return list(scores.get(architecture, decision.weights).first)

    if any(candidate.spared for candidate in decision.candidates):
        raise ValueError(f"{run}: its actions were raced; search with search.racing=false")
    before = decision.before
    return RecordedRound(
        decision.latency_before_ms,
        tuple(str(candidate.action) for candidate in decision.candidates),
        torch.tensor([c.delta_latency_ms for c in decision.candidates], dtype=torch.float64),
        torch.tensor(of(before), dtype=torch.float64),
        torch.tensor(
            [of(c.action.apply(before)) for c in decision.candidates], dtype=torch.float64
        ),
    )


def save_rounds(path: Path, rounds: Iterable[RecordedRound]) -> None:
    """Write rounds to a safetensors file; scores in fp32, which keeps seven digits."""
    tensors: dict[str, Tensor] = {}
    names = []
    for i, each in enumerate(rounds):
        tensors[f"{i}/before"] = each.before.float()
        tensors[f"{i}/after"] = each.after.float()
        tensors[f"{i}/delta_latency_ms"] = each.delta_latency_ms
        names.append({"base_ms": each.base_ms, "actions": each.actions})
    save_tensors(path, tensors, {"rounds": json.dumps(names)})


def load_rounds(path: Path) -> list[RecordedRound]:
    """The inverse of :func:`save_rounds`.

    Raises:
        CheckpointError: if the file is missing or damaged.
    """
    tensors, metadata = load_tensors(path)
    return [
        RecordedRound(
            names["base_ms"],
            tuple(names["actions"]),
            tensors[f"{i}/delta_latency_ms"],
            tensors[f"{i}/before"].double(),
            tensors[f"{i}/after"].double(),
        )
        for i, names in enumerate(json.loads(metadata["rounds"]))
    ]


def main(
    run: Annotated[Path, typer.Argument(help="folder of a finished search")],
    out: Annotated[Path, typer.Argument(help="safetensors file to write")] = SHIPPED,
) -> None:
    """Record the scores of a search's removals."""
    from experiments.run_folder import RunFolder
    from experiments.search_parts import prepare

    parts = prepare(RunFolder(run).load_experiment())
    save_rounds(out, read_search(run, parts.full, parts.conditions))


if __name__ == "__main__":
    typer.run(main)
