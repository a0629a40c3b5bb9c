"""A search without pictures: a tiny UNet, a made-up table, and a scorer that follows a formula."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import torch
from torch import Tensor

from evaluators.job import Job, Scores
from evaluators.latency import TableLatency
from latency_tables import BlockSignature, LatencyRow, LatencyTable, TableMetadata
from search.decision import Decision
from search.demands import Demands, Limit
from search.evaluations import Evaluations, OnProgress, unseen
from search.evolution import EVOLUTION, Evolution, Track
from search.round import Strategy
from search.settings import EvolutionSettings
from search.state import SearchState
from search.store import EvaluationStore
from supernet.architecture import Architecture, BlockId
from supernet.inventory import take_inventory, unet_config
from supernet.parts import Inventory

PROMPTS = 4

Order = Callable[[Sequence[Job]], Sequence[Job]]


def toy_inventory() -> Inventory:
    """Twelve blocks: eight ResNets, of which five change channels, and four cross-attentions."""
    config = {
        "sample_size": 8,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 8,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
    }
    return take_inventory(unet_config(config))


def by_size(signature: BlockSignature) -> float:
    """Made-up milliseconds: multiples of 1/8, so that sums are exact."""
    per_row = {"resnet": 4, "cross_attention": 6}.get(signature.kind, 1)
    return per_row * max(signature.height, 1) / 8 + signature.in_channels / 8


def toy_latency(cost: Callable[[BlockSignature], float] = by_size) -> TableLatency:
    inventory = toy_inventory()
    metadata = TableMetadata(
        name="toy",
        device="a toy",
        chip="T1",
        os="ToyOS 1",
        runtime="torch",
        runtime_version="1",
        precision="fp32",
        method="derived",
        measured_how="made up",
        measured_at=date(2026, 11, 24),
        command="none",
    )
    rows = {s: LatencyRow(cost(s), 0.0, 1) for s in inventory.all_signatures()}
    return TableLatency(inventory, LatencyTable(metadata, rows))


@dataclass(frozen=True)
class Truth:
    """What every architecture is worth.

    Attributes:
        importance: CLIP score lost when a block is removed.
        copies: CLIP score gained by a second one behind it.
        together: CLIP score lost on top when all of a group are removed.
        noise: how much the prompts disagree about a block, as a share of its importance.
    """

    importance: Mapping[BlockId, float]
    copies: Mapping[BlockId, float] = field(default_factory=dict)
    together: Mapping[frozenset[BlockId], float] = field(default_factory=dict)
    noise: float = 0.1

    def scores(
        self, architecture: Architecture, prompts: range = range(PROMPTS)
    ) -> tuple[float, ...]:
        removed = set(architecture.removed)
        common = sum(loss for group, loss in self.together.items() if group <= removed)
        effects = [-self.importance.get(block, 0.0) for block in architecture.removed]
        effects += [self.copies.get(block, 0.0) for block in architecture.added]
        return tuple(
            0.8
            + 0.02 * (prompt % PROMPTS)
            - common
            + sum(
                effect * (1 + self.noise * math.sin(1 + i + 2 * prompt))
                for i, effect in enumerate(effects)
            )
            for prompt in prompts
        )


def truth_by_place(inventory: Inventory) -> Truth:
    """Every block matters, each differently; copies help a little."""
    blocks = [block.id for block in inventory.blocks]
    importance = {block: 0.002 * (1 + 5 * i % 12) for i, block in enumerate(blocks)}
    return Truth(importance, {block: 0.3 * loss for block, loss in importance.items()})


def no_clock() -> None:
    """Of a search that nothing interrupts."""


class ToyTrainer:
    """Weights that are a function of the round and the architecture, as the contract demands."""

    def __init__(self, clock: Callable[[], None] = no_clock, *, constant: bool = False) -> None:
        self.clock = clock
        self.constant = constant
        self.calls: list[tuple[int, str]] = []

    def train(self, round_: int, architecture: Architecture) -> Mapping[str, Tensor]:
        # A search that goes round and round fails instead of hanging.
        assert round_ < 50
        self.clock()
        self.calls.append((round_, architecture.id))
        name = "start" if self.constant else f"round {round_} of {architecture.id}"
        return {name: torch.tensor(0.0 if self.constant else float(round_))}


class ToyScorer:
    """Scores by the truth, a little higher after every training.

    Args:
        truth: what it answers.
        order: rearranges the jobs before they are answered.
        clock: ticks before every answer.
    """

    def __init__(
        self,
        truth: Truth,
        order: Order = tuple,
        clock: Callable[[], None] = no_clock,
    ) -> None:
        self.truth = truth
        self.order = order
        self.clock = clock
        self.evaluated: list[tuple[str, str]] = []
        self._digest = ""
        self._training = 0.0

    def load_weights(self, weights: Mapping[str, Tensor]) -> str:
        self.clock()
        [(self._digest, round_)] = weights.items()
        self._training = 0.001 * float(round_)
        return self._digest

    def scores(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Scores]]:
        for job in self.order(jobs):
            self.clock()
            self.evaluated.append((job.architecture.id, self._digest))
            scores = self.truth.scores(job.architecture, job.rows)
            yield job, Scores(tuple(score + self._training for score in scores))


class MemoryStore(EvaluationStore):
    """The store without its file: what is added survives a search that is stopped."""

    def __init__(self) -> None:
        self.scores: dict[tuple[str, str], Scores] = {}
        self.clock: Callable[[], None] = no_clock

    def get(self, architecture: Architecture, weights: str) -> Scores:
        return self.scores.get((architecture.id, weights), Scores(()))

    def add(self, job: Job, weights: str, scores: Scores, latency_ms: float, round_: int) -> None:
        known = self.get(job.architecture, weights)
        assert len(known.first) == job.rows.start
        self.scores[job.architecture.id, weights] = known + scores
        self.clock()


def silent_track(description: str, total: int) -> AbstractContextManager[OnProgress]:
    return nullcontext(unseen)


@dataclass
class ToySearch:
    """One search in a folder; :meth:`run` begins it or goes on with it.

    Attributes:
        folder: for ``state.json``.
        settings: of the controller.
        truth: what its scorer answers.
        latency: its table.
        store: an ``EvaluationStore`` or a ``MemoryStore``.
        clock: ticks at everything that happens; may raise.
        strategy: chooses removals.
        limits: besides the target.
        now: seconds.
        track: opens progress displays.
    """

    folder: Path
    settings: EvolutionSettings
    truth: Truth
    latency: TableLatency = field(default_factory=toy_latency)
    store: EvaluationStore = field(default_factory=MemoryStore)
    clock: Callable[[], None] = no_clock
    order: Order = tuple
    constant_weights: bool = False
    prompts: int = PROMPTS
    strategy: Strategy = EVOLUTION
    limits: tuple[Limit, ...] = ()
    now: Callable[[], float] = lambda: 0.0
    track: Track = silent_track
    told: list[Decision] = field(default_factory=list)
    evaluated: list[tuple[str, str]] = field(default_factory=list)
    evaluations: Evaluations = field(init=False)
    evolution: Evolution = field(init=False)

    @property
    def state_path(self) -> Path:
        return self.folder / "state.json"

    def load_state(self) -> SearchState:
        return SearchState.load(self.state_path, self.latency.inventory.full())

    def run(self) -> Architecture:
        trainer = ToyTrainer(self.clock, constant=self.constant_weights)
        scorer = ToyScorer(self.truth, self.order, self.clock)
        scorer.evaluated = self.evaluated
        self.evaluations = Evaluations(scorer, self.store, self.prompts, self.latency)
        self.evolution = evolution = Evolution(
            self.settings,
            Demands(self.latency, self.settings.target_ms, self.limits),
            trainer,
            self.evaluations,
            PROMPTS,
            self.load_state(),
            self.state_path,
            self.track,
            self._tell,
            self.strategy,
            now=self.now,
        )
        found, weights = evolution.run()
        last = len(evolution.state.decisions) + 1
        assert trainer.calls[-1] == (last, found.id)
        assert len(weights) == 1
        return found

    def _tell(self, decision: Decision) -> None:
        self.clock()
        self.told.append(decision)
