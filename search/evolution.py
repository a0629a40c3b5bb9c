"""Algorithm 1 of SnapFusion: evolve the architecture by the value of its blocks.

Every round trains robustly, scores all actions by ΔCLIP and ΔLatency, and executes the best of
them: removals while the latency target is not met, additions where there is slack below it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from decimal import ROUND_CEILING, Decimal
from math import isfinite
from pathlib import Path
from statistics import mean
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from evaluators.latency import TableLatency
from search.action import Action, additions, removals
from search.decision import Candidate, Decision, score_action
from search.state import SearchState
from search.store import EvaluationStore
from supernet.architecture import Architecture


class EvolutionSettings(BaseModel):
    """How Algorithm 1 is run.

    The paper executes "a group of actions at a time" without saying how many. Here a round
    removes until it has covered its share of the way to the target: after round r of ``rounds``
    the latency is at most ``base * (target / base) ** (r / rounds)``.

    Attributes:
        target_ms: latency to reach by the table, in ms of one UNet pass.
        rounds: rounds of removals.
        caution: removals are ranked by the value that they would have if CLIP turned out this
            many standard errors worse than measured; 0 ranks them as the paper does.
        grow: whether to add blocks where the target leaves slack.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    target_ms: float = Field(gt=0)
    rounds: int = Field(4, ge=1)
    caution: float = Field(1.0, ge=0)
    grow: bool = True

    def goal_ms(self, base_ms: float, round_: int) -> float:
        """Latency that round ``round_`` (from 1) has to reach, in ms."""
        if round_ >= self.rounds:
            return self.target_ms
        share = round_ / self.rounds
        return float(base_ms * (self.target_ms / base_ms) ** share)


class Scorer(Protocol):
    """Who scores architectures; :class:`evaluators.pool.EvaluatorPool` does."""

    def load_weights(self, weights: Mapping[str, Tensor]) -> str: ...

    def clip_scores(
        self, architectures: Sequence[Architecture]
    ) -> Iterator[tuple[Architecture, tuple[float, ...]]]: ...


class Trainer(Protocol):
    """Who trains the supernet between decisions."""

    def train(self, round_: int, architecture: Architecture) -> Mapping[str, Tensor]:
        """Train ``architecture`` robustly for one round; the UNet's weights afterwards.

        Asked again for a round that is done or was interrupted, it ends with the same weights.
        """
        ...


# Opens a progress display of (description, total); see experiments.progress.
Track = Callable[[str, int], AbstractContextManager[Callable[[int, dict[str, float]], None]]]


class Evolution:
    """The controller of one search; call :meth:`run`.

    Args:
        settings: target and pace.
        latency: latency of any architecture by the objective's table.
        trainer: trains between decisions.
        scorer: scores architectures with the trained weights.
        store: where scores are kept, and looked up before anything is evaluated.
        state: decisions so far; a fresh state for a fresh search.
        state_path: where the state is saved after every decision.
        track: opens progress displays.
        on_decision: told of every decision.

    Raises:
        ValueError: if no architecture reaches the target.
    """

    def __init__(
        self,
        settings: EvolutionSettings,
        latency: TableLatency,
        trainer: Trainer,
        scorer: Scorer,
        store: EvaluationStore,
        state: SearchState,
        state_path: Path,
        track: Track,
        on_decision: Callable[[Decision], None],
    ) -> None:
        check_reachable(settings.target_ms, latency)
        self.settings = settings
        self.latency = latency
        self.trainer = trainer
        self.scorer = scorer
        self.store = store
        self.state = state
        self.state_path = state_path
        self.track = track
        self.on_decision = on_decision

    def run(self) -> tuple[Architecture, Mapping[str, Tensor]]:
        """Search until the target is met, from wherever the state stands.

        Returns:
            The architecture found and the supernet's weights after a last training of it.
        """
        while (phase := self._next_phase()) is not None:
            decision = self._decide(len(self.state.decisions) + 1, phase)
            self.state.decisions.append(decision)
            self.state.save(self.state_path)
            self.on_decision(decision)
        final = self.state.architecture
        return final, self.trainer.train(len(self.state.decisions) + 1, final)

    def _next_phase(self) -> str | None:
        """``remove`` above the target, ``add`` once below it with slack, None when done."""
        if self.latency(self.state.architecture) > self.settings.target_ms:
            return "remove"
        grown = any(decision.phase == "add" for decision in self.state.decisions)
        if self.settings.grow and not grown and self._fitting_additions():
            return "add"
        return None

    def _fitting_additions(self) -> list[Action]:
        current = self.state.architecture
        return [
            action
            for action in additions(current, self.latency.inventory)
            if self.latency(action.apply(current)) <= self.settings.target_ms
        ]

    def _decide(self, round_: int, phase: str) -> Decision:
        current = self.state.architecture
        weights = self.scorer.load_weights(self.trainer.train(round_, current))
        actions = list(removals(current)) if phase == "remove" else self._fitting_additions()
        candidates = self._score(round_, weights, current, actions)
        if phase == "remove":
            base_ms = self.latency(self.state.full)
            goal_ms = self.settings.goal_ms(base_ms, round_)
            caution = self.settings.caution
            taken = choose_removals(candidates, current, self.latency, goal_ms, caution)
            assert taken, "above a reachable target, some removal saves time"
        else:
            taken = choose_additions(candidates, current, self.latency, self.settings.target_ms)
        after = apply_all(taken, current)
        scores = self._clip_scores(round_, weights, [current, after], "together")
        return Decision(
            round=round_,
            phase=phase,
            weights=weights,
            before=current,
            clip_before=mean(scores[current.id]),
            latency_before_ms=self.latency(current),
            candidates=tuple(candidates),
            taken=tuple(taken),
            after=after,
            clip_after=mean(scores[after.id]),
            latency_after_ms=self.latency(after),
        )

    def _score(
        self, round_: int, weights: str, current: Architecture, actions: Sequence[Action]
    ) -> list[Candidate]:
        changed = {action: action.apply(current) for action in actions}
        scores = self._clip_scores(round_, weights, [current, *changed.values()], "actions")
        now_ms = self.latency(current)
        return [
            score_action(
                action,
                scores[current.id],
                scores[architecture.id],
                self.latency(architecture) - now_ms,
            )
            for action, architecture in changed.items()
        ]

    def _clip_scores(
        self, round_: int, weights: str, architectures: Iterable[Architecture], what: str
    ) -> dict[str, tuple[float, ...]]:
        """CLIP scores by architecture id: from the store where known, else evaluated.

        Raises:
            ValueError: if a score is no number, because the weights are none.
        """
        wanted = {architecture.id: architecture for architecture in architectures}
        known = {i: self.store.get(a, weights) for i, a in wanted.items()}
        scores = {i: value for i, value in known.items() if value is not None}
        missing = [a for i, a in wanted.items() if i not in scores]
        if missing:
            with self.track(f"round {round_}: evaluating {what}", len(missing)) as on_progress:
                evaluated = self.scorer.clip_scores(missing)
                for done, (architecture, values) in enumerate(evaluated, start=1):
                    if not all(map(isfinite, values)):
                        raise ValueError(
                            f"round {round_}: architecture {architecture.id} draws no picture (its "
                            "CLIP score is no number): training has diverged; start again with a "
                            "lower training.round.learning_rate"
                        )
                    self.store.add(
                        architecture, weights, values, self.latency(architecture), round_
                    )
                    scores[architecture.id] = values
                    on_progress(done, {"CLIP": mean(values)})
        return scores


def choose_removals(
    candidates: Sequence[Candidate],
    current: Architecture,
    latency: Callable[[Architecture], float],
    goal_ms: float,
    caution: float = 0.0,
) -> list[Action]:
    """The removals with the smallest CLIP loss per ms saved, until the goal is met.

    Args:
        candidates: scored removals; those that save no time are left out.
        current: the architecture as it is.
        latency: of any architecture, in ms.
        goal_ms: latency to reach.
        caution: standard errors by which to rank them worse than measured; none in the paper.

    Returns:
        At least one action if any saves time; best first. Equal values keep the given order.
    """
    worthwhile = [candidate for candidate in candidates if candidate.delta_latency_ms < 0]
    taken: list[Action] = []
    for candidate in sorted(worthwhile, key=lambda candidate: candidate.cautious_value(caution)):
        if taken and latency(current) <= goal_ms:
            break
        taken.append(candidate.action)
        current = candidate.action.apply(current)
    return taken


def choose_additions(
    candidates: Sequence[Candidate],
    current: Architecture,
    latency: Callable[[Architecture], float],
    target_ms: float,
) -> list[Action]:
    """The additions with the largest CLIP gain per ms that together stay within the target.

    An addition whose gain cannot be told from zero is not worth its time.
    """
    worthwhile = [c for c in candidates if c.delta_clip > 0 and c.distinguishable]
    taken: list[Action] = []
    for candidate in sorted(worthwhile, key=lambda candidate: -candidate.value):
        grown = candidate.action.apply(current)
        if latency(grown) <= target_ms:
            taken.append(candidate.action)
            current = grown
    return taken


def apply_all(actions: Iterable[Action], architecture: Architecture) -> Architecture:
    for action in actions:
        architecture = action.apply(architecture)
    return architecture


def check_reachable(target_ms: float, latency: TableLatency) -> None:
    """Refuse a target that even the fastest architecture misses.

    Raises:
        ValueError: naming the smallest latency that can be reached.
    """
    full = latency.inventory.full()
    fastest = full.without(block for block in full if latency.saved_by_removing(block) > 0)
    if target_ms < latency(fastest):
        least, share = latency(fastest), latency(fastest) / latency(full)
        raise ValueError(
            f"target of {target_ms:.2f} ms cannot be reached on table "
            f"'{latency.table.metadata.name}': without its blocks the UNet still takes "
            f"{_rounded_up(least)} ms, {_rounded_up(share)} of the base; "
            "choose a target of at least that"
        )


def _rounded_up(value: float) -> Decimal:
    """To two decimals, so that what is printed can be asked for."""
    return Decimal(value).quantize(Decimal("0.01"), ROUND_CEILING)
