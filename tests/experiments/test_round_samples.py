"""Pictures of every round: those that were scored, each drawn once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from small_report import small_decisions, small_latency
from torch import Tensor

from evaluators.job import Job, Scores
from evaluators.prompts import PromptSet
from experiments.report.sample_files import load_samples
from experiments.round_samples import RoundSamples
from search.decision import Decision
from search.evaluations import unseen
from search.store import EvaluationStore
from supernet.architecture import Architecture

PROMPTS = PromptSet(tuple(f"a picture of {i}" for i in range(20)), seed=0)
BATCH = 6


@dataclass
class ToyEvaluators:
    """Draws pictures as bright as the number of their prompt; notes what was asked for."""

    spec = SimpleNamespace(sampling=SimpleNamespace(batch_size=BATCH), prompts=PROMPTS)
    asked: list[tuple[str, str, range]] = field(default_factory=list)
    weights: str = ""

    def load_weights(self, weights: Mapping[str, str]) -> str:
        self.weights = weights["name"]
        return self.weights

    def images(self, architecture: Architecture, rows: range) -> Iterator[Tensor]:
        self.asked.append((self.weights, architecture.id, rows))
        for start in range(0, len(rows), BATCH):
            part = rows[start : start + BATCH]
            yield torch.stack([torch.full((3, 4, 4), row / 20) for row in part])


@pytest.fixture(scope="module")
def decisions() -> tuple[Decision, ...]:
    return small_decisions(small_latency())


@pytest.fixture
def store(decisions: tuple[Decision, ...]) -> EvaluationStore:
    """Scores of what was decided on, as the search has left them."""
    store = EvaluationStore(None, "conditions")
    for decision in decisions:
        for architecture in (decision.before, decision.after):
            scores = Scores(tuple(0.01 * decision.round + 0.001 * i for i in range(len(PROMPTS))))
            job = Job(architecture, range(len(PROMPTS)))
            store.add(job, decision.weights, scores, 1.0, decision.round)
    return store


def samples(folder: Path, evaluators: ToyEvaluators, store: EvaluationStore) -> RoundSamples:
    return RoundSamples(
        folder,
        evaluators,
        store,
        lambda decision: {"name": f"trained for {decision.round}"},
        "copy",
        lambda description, total: nullcontext(unseen),
    )


def test_pictures_are_those_that_were_scored(
    tmp_path: Path, decisions: tuple[Decision, ...], store: EvaluationStore
) -> None:
    evaluators = ToyEvaluators()
    samples(tmp_path, evaluators, store).draw(decisions)
    first, second = decisions
    batches = range(12)  # the eight that are shown, in whole batches
    assert evaluators.asked == [
        ("trained for 1", first.before.id, batches),
        ("trained for 1", first.after.id, batches),
        ("trained for 2", second.after.id, batches),
    ]
    sets = load_samples(tmp_path)
    assert [each.title for each in sets] == ["base", "round 1", "round 2"]
    for each in sets:
        assert each.captions == PROMPTS.prompts[:8]
        brightness = each.images.mean(dim=(1, 2, 3))
        assert torch.allclose(brightness, torch.arange(8) / 20, atol=1 / 255)
    assert sets[2].clip_scores == pytest.approx([0.02 + 0.001 * i for i in range(8)])


def test_nothing_is_drawn_twice_and_what_is_missing_is_made_up_for(
    tmp_path: Path, decisions: tuple[Decision, ...], store: EvaluationStore
) -> None:
    evaluators = ToyEvaluators()
    samples(tmp_path, evaluators, store).draw(decisions[:1])
    samples(tmp_path, evaluators, store).draw(decisions[:1])
    assert len(evaluators.asked) == 2
    samples(tmp_path, evaluators, store).draw(decisions)  # as a resumed search does
    samples(tmp_path, evaluators, store).draw(decisions)
    assert len(evaluators.asked) == 3
    assert [each.title for each in load_samples(tmp_path)] == ["base", "round 1", "round 2"]


def test_a_picture_without_its_score_is_not_drawn(
    tmp_path: Path, decisions: tuple[Decision, ...]
) -> None:
    """As of rounds before the storage of scores was moved away."""
    evaluators = ToyEvaluators()
    samples(tmp_path, evaluators, EvaluationStore(None, "conditions")).draw(decisions)
    assert evaluators.asked == []
    assert load_samples(tmp_path) == ()
