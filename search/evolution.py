"""Algorithm 1 of SnapFusion: evolve the architecture by the value of its blocks.

Every round trains robustly, scores all actions by ΔCLIP and ΔLatency, and executes the best of
them: removals while the latency target is not met, additions where there is slack below it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import fmean
from typing import Protocol

from torch import Tensor

from search.action import Action, additions
from search.choice import choose_additions
from search.decision import Decision
from search.demands import Demands
from search.evaluations import Evaluations, OnProgress
from search.front import Front, FrontPoint
from search.race import Race, as_it_begins
from search.round import Answer, Round, Strategy, explained
from search.settings import EvolutionSettings
from search.state import SearchState
from search.strategies.evolution import EvolutionStrategy
from supernet.architecture import Architecture
from supernet.block_groups import block_groups


class Trainer(Protocol):
    """Who trains the supernet between decisions."""

    def train(self, round_: int, architecture: Architecture) -> Mapping[str, Tensor]:
        """Train ``architecture`` robustly for one round; the UNet's weights afterwards.

        Asked again for a round that is done or was interrupted, it ends with the same weights.
        """
        ...


EVOLUTION = EvolutionStrategy()
Track = Callable[[str, int], AbstractContextManager[OnProgress]]


class Evolution:
    """The controller of one search; call :meth:`run`.

    Args:
        settings: target and pace.
        demands: what has to be reached.
        trainer: trains between decisions.
        evaluations: scores architectures with the trained weights.
        batch_size: of the prompts that are drawn at a time.
        state: decisions so far; a fresh state for a fresh search.
        state_path: where the state is saved after every decision.
        track: opens progress displays.
        on_decision: told of every decision.
        strategy: chooses what a round removes.
        seed: of what it leaves to chance.
        now: seconds, of which differences are taken.

    Attributes:
        stopped: why the search ended short of its target, if it did.
    """

    def __init__(
        self,
        settings: EvolutionSettings,
        demands: Demands,
        trainer: Trainer,
        evaluations: Evaluations,
        batch_size: int,
        state: SearchState,
        state_path: Path,
        track: Track,
        on_decision: Callable[[Decision], None],
        strategy: Strategy = EVOLUTION,
        seed: int = 0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.demands = demands
        self.latency = demands.latency
        self.trainer = trainer
        self.evaluations = evaluations
        self.batch_size = batch_size
        self.state = state
        self.state_path = state_path
        self.track = track
        self.on_decision = on_decision
        self.strategy = strategy
        self.seed = seed
        self.now = now
        self.stopped = ""
        self.groups = [
            group for each in settings.groups for group in block_groups(state.full, each)
        ]

    def run(self) -> tuple[Architecture, Mapping[str, Tensor]]:
        """Search until the target is met, or cannot be, from wherever the state stands.

        Returns:
            The architecture found and the supernet's weights after a last training of it.
        """
        while (phase := self._next_phase()) is not None:
            used_up = self.settings.budget.used_up(self.state.spent)
            if used_up is not None:
                short = "" if phase == "add" else ", short of its target"
                self.stopped = f"{used_up} is used up: the search ends{short}"
                break
            started, asked = self.now(), self.evaluations.asked
            decision = self._decide(len(self.state.decisions) + 1, phase)
            least = self.settings.min_clip
            if least is not None and decision.clip_after < least:
                self.stopped = (
                    f"round {decision.round} would leave CLIP {decision.clip_after:.4f}, less than "
                    f"search.min_clip {least:.4f}: nothing of it is executed, and the search ends"
                )
                break
            self.state.decisions.append(decision)
            self.state.pictures += self.evaluations.asked - asked
            self.state.seconds += self.now() - started
            self.state.save(self.state_path)
            self.on_decision(decision)
        final = self.state.architecture
        return final, self.trainer.train(len(self.state.decisions) + 1, final)

    def front(self) -> Front:
        """Beyond the target: what is not beaten in both CLIP score and latency.

        Of all that removing blocks of the base gives with the weights of the last decision.
        """
        last = self.state.decisions[-1]
        weights = self.evaluations.use(self.trainer.train(last.round, last.before), last.round)
        fastest = self.latency.fastest()
        with self.track("front: evaluations", self.settings.evaluations) as on_progress:
            question = Round(
                self.state.full,
                self.latency(fastest),
                self.latency,
                self.evaluations,
                self.settings.model_copy(update={"target_ms": self.latency(fastest)}),
                self.batch_size,
                self.seed,
                on_progress=on_progress,
            )
            found = EVOLUTION.front(question)
        points = [FrontPoint(each, self.latency(each), question.known[each]) for each in found]
        return Front(last.round, weights, question.known[self.state.full], tuple(points))

    def _next_phase(self) -> str | None:
        """``remove`` above the target, ``add`` below it while that pays, None when done."""
        if not self.demands.met(self.state.architecture):
            return "remove"
        last = self.state.decisions[-self.settings.patience :]
        in_vain = [d for d in last if d.phase == "add" and not d.executed]
        patient = len(in_vain) < self.settings.patience
        if self.settings.grow and patient and self._fitting_additions():
            return "add"
        return None

    def _fitting_additions(self) -> list[Action]:
        current = self.state.architecture
        return [
            action
            for action in additions(
                current, self.latency.inventory, self.groups, self.settings.growth
            )
            if self.demands.met(action.apply(current))
        ]

    def _decide(self, round_: int, phase: str) -> Decision:
        current = self.state.architecture
        weights = self.evaluations.use(self.trainer.train(round_, current), round_)
        answer = (self._remove if phase == "remove" else self._add)(round_, current)
        after = answer.after
        begun = as_it_begins(after, current, self.settings.growth)
        scores = self.evaluations.first(self.evaluations.prompts, [current, begun])
        return Decision(
            round=round_,
            phase=phase,
            weights=weights,
            before=current,
            clip_before=fmean(scores[current.id].first),
            latency_before_ms=self.latency(current),
            candidates=answer.judged,
            executed=answer.executed,
            after=after,
            clip_after=fmean(scores[begun.id].first),
            latency_after_ms=self.latency(after),
            remarks=answer.remarks,
        )

    def _remove(self, round_: int, current: Architecture) -> Answer:
        """What the strategy would remove, with its blocks judged by themselves."""
        goal_ms = self.settings.goal_ms(self.demands(self.state.full), round_)
        evaluations = self.settings.budget.evaluations(
            self.settings.evaluations,
            self.state.spent,
            self.evaluations.prompts,
            self.settings.rounds_left(round_),
        )
        question = Round(
            current,
            goal_ms,
            self.demands,
            self.evaluations,
            self.settings.model_copy(update={"evaluations": evaluations}),
            self.batch_size,
            self.seed + round_,
            self.groups,
        )
        about = self.strategy.expected(question)
        with self.track(f"round {round_}: architectures, about", about) as on_progress:
            question.on_progress = on_progress
            answer = self.strategy.choose(question)
            assert answer.after != current, "above a reachable target, some removal saves time"
            return answer if answer.executed else explained(question, answer)

    def _add(self, round_: int, current: Architecture) -> Answer:
        """The additions that pay."""
        actions = self._fitting_additions()
        with self.track(f"round {round_}: evaluating actions", 1 + len(actions)) as on_progress:
            race = Race(self.evaluations, current, self.demands, self.settings, self.batch_size)
            race.on_rung = lambda figures: on_progress(len(race.alone), figures)
            worthwhile = race.worthwhile(race.enter(current, actions, on_progress))
        target_ms = self.settings.target_ms
        taken = choose_additions(worthwhile, current, self.demands, target_ms)
        after = apply_all((candidate.action for candidate in taken), current)
        return Answer(after, tuple(race.alone.values()), tuple(taken))


def apply_all(actions: Iterable[Action], architecture: Architecture) -> Architecture:
    for action in actions:
        architecture = action.apply(architecture)
    return architecture
