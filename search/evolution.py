"""Algorithm 1 of SnapFusion: evolve the architecture by the value of its blocks.

Every round trains robustly, scores all actions by ΔCLIP and ΔLatency, and executes the best of
them: removals while the latency target is not met, additions where there is slack below it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from decimal import ROUND_CEILING, Decimal
from itertools import chain
from math import isfinite
from pathlib import Path
from statistics import mean
from typing import Protocol

from torch import Tensor

from evaluators.job import Job, Scores
from evaluators.latency import TableLatency
from search.action import Action, additions, removals
from search.choice import choose_additions, choose_removals
from search.decision import Candidate, Decision, score_action
from search.settings import EvolutionSettings
from search.state import SearchState
from search.store import EvaluationStore
from supernet.architecture import Architecture
from supernet.block_groups import block_groups
from supernet.growth import Growth


class Scorer(Protocol):
    """Who scores architectures, as :class:`evaluators.pool.Evaluators` do."""

    def load_weights(self, weights: Mapping[str, Tensor]) -> str: ...

    def scores(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Scores]]: ...


class Trainer(Protocol):
    """Who trains the supernet between decisions."""

    def train(self, round_: int, architecture: Architecture) -> Mapping[str, Tensor]:
        """Train ``architecture`` robustly for one round; the UNet's weights afterwards.

        Asked again for a round that is done or was interrupted, it ends with the same weights.
        """
        ...


# Told of the work done and the figures beside it; opened by (description, total): see
# experiments.progress.
OnProgress = Callable[[int, dict[str, float]], None]
Track = Callable[[str, int], AbstractContextManager[OnProgress]]


def unseen(done: int, figures: dict[str, float]) -> None:
    """Of work that is shown as part of something longer."""


class Evolution:
    """The controller of one search; call :meth:`run`.

    Args:
        settings: target and pace.
        latency: latency of any architecture by the objective's table.
        trainer: trains between decisions.
        scorer: scores architectures with the trained weights.
        prompts: how many it has.
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
        prompts: int,
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
        self.prompts = prompts
        self.store = store
        self.state = state
        self.state_path = state_path
        self.track = track
        self.on_decision = on_decision
        self.groups = [
            group for each in settings.groups for group in block_groups(state.full, each)
        ]

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
            for action in additions(
                current, self.latency.inventory, self.groups, self.settings.growth
            )
            if self.latency(action.apply(current)) <= self.settings.target_ms
        ]

    def _decide(self, round_: int, phase: str) -> Decision:
        current = self.state.architecture
        weights = self.scorer.load_weights(self.trainer.train(round_, current))
        if phase == "remove":
            actions = list(removals(current, self.groups))
        else:
            actions = self._fitting_additions()
        with self.track(f"round {round_}: evaluating actions", 1 + len(actions)) as on_progress:
            candidates = self._score(round_, weights, current, actions, on_progress)
        if phase == "remove":
            taken = self._choose_removals(round_, weights, current, candidates)
            assert taken, "above a reachable target, some removal saves time"
        else:
            taken = choose_additions(candidates, current, self.latency, self.settings.target_ms)
        after = apply_all((candidate.action for candidate in taken), current)
        begun = as_it_begins(after, current, self.settings.growth)
        scores = self._clip_scores(round_, weights, [current, begun])
        return Decision(
            round=round_,
            phase=phase,
            weights=weights,
            before=current,
            clip_before=mean(scores[current.id]),
            latency_before_ms=self.latency(current),
            candidates=tuple(candidates),
            executed=tuple(taken),
            after=after,
            clip_after=mean(scores[begun.id]),
            latency_after_ms=self.latency(after),
        )

    def _choose_removals(
        self, round_: int, weights: str, current: Architecture, candidates: Sequence[Candidate]
    ) -> list[Candidate]:
        settings = self.settings
        goal_ms = settings.goal_ms(self.latency(self.state.full), round_)
        start_ms = self.latency(current)
        # In hundredths of a ms: how many removals it will take is not known before.
        to_save = max(1, round(100 * (start_ms - goal_ms)))
        with self.track(f"round {round_}: removing, ms/100", to_save) as on_progress:

            def rescore(reduced: Architecture, actions: Sequence[Action]) -> list[Candidate]:
                saved = round(100 * (start_ms - self.latency(reduced)))
                scored = self._score(round_, weights, reduced, actions)
                on_progress(min(saved, to_save - 1), {"CLIP": max(c.clip for c in scored)})
                return scored

            return choose_removals(candidates, current, self.latency, goal_ms, settings, rescore)

    def _score(
        self,
        round_: int,
        weights: str,
        current: Architecture,
        actions: Sequence[Action],
        on_progress: OnProgress = unseen,
    ) -> list[Candidate]:
        growth = self.settings.growth
        judged = {action: judged_by(action, current, growth) for action in actions}
        architectures = [current, *chain.from_iterable(judged.values())]
        scores = self._clip_scores(round_, weights, architectures, on_progress)
        now_ms = self.latency(current)
        return [
            score_action(
                action,
                scores[before.id],
                scores[after.id],
                self.latency(action.apply(current)) - now_ms,
            )
            for action, (before, after) in judged.items()
        ]

    def _clip_scores(
        self,
        round_: int,
        weights: str,
        architectures: Iterable[Architecture],
        on_progress: OnProgress = unseen,
    ) -> dict[str, tuple[float, ...]]:
        """CLIP scores by architecture id: from the store where known, else evaluated.

        Raises:
            ValueError: if a score is no number, because the weights are none.
        """
        wanted = {architecture.id: architecture for architecture in architectures}
        known = {i: self.store.get(a, weights) for i, a in wanted.items()}
        scores = {i: value for i, value in known.items() if value is not None}
        missing = [a for i, a in wanted.items() if i not in scores]
        rows = range(self.prompts)
        jobs = [Job(architecture, rows) for architecture in missing]
        for job, answer in self.scorer.scores(jobs) if jobs else ():
            architecture, values = job.architecture, answer.first
            if not all(map(isfinite, values)):
                raise ValueError(
                    f"round {round_}: architecture {architecture.id} draws no picture (its "
                    "CLIP score is no number): training has diverged; start again with a "
                    "lower training.round.learning_rate"
                )
            self.store.add(architecture, weights, values, self.latency(architecture), round_)
            scores[architecture.id] = values
            on_progress(len(scores), {"CLIP": mean(values)})
        return scores


def judged_by(
    action: Action, current: Architecture, growth: Growth
) -> tuple[Architecture, Architecture]:
    """The two architectures whose CLIP scores tell what an action changes: before and after.

    A copy that begins as the identity shows nothing by itself. It is worth what its source is: the
    score with the source over that without (SnapFusion, Algorithm 1: "add copies of the blocks
    with the largest values").
    """
    changes = action.changes(current) if growth == "identity" else {}
    sources = {block: count - 2 for block, count in changes.items() if count > 1}
    before = current.with_multiplicities(sources)
    return before, as_it_begins(action.apply(current), current, growth)


def as_it_begins(after: Architecture, before: Architecture, growth: Growth) -> Architecture:
    """What computes the same as ``after`` does before any training of the copies new in it."""
    if growth == "copy":
        return after
    new = {block: max(1, before[block]) for block in after.added}
    return after.with_multiplicities({b: min(after[b], count) for b, count in new.items()})


def apply_all(actions: Iterable[Action], architecture: Architecture) -> Architecture:
    for action in actions:
        architecture = action.apply(architecture)
    return architecture


def check_reachable(target_ms: float, latency: TableLatency) -> None:
    """Refuse a target that even the fastest architecture misses.

    Raises:
        ValueError: naming the smallest latency that can be reached.
    """
    full, fastest = latency.inventory.full(), latency.fastest()
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
