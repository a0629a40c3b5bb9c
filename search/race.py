"""A race of actions: judged on more prompts only while it is open which of them are the best.

All actions draw the same prompts from the same noise, so their differences are paired. One is
judged on more prompts only while a confidence sequence (``search/confidence.py``) leaves it open
whether it is among those to be executed. What has dropped out keeps its scores, and comes back
where others turn out worse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from evaluators.job import Scores
from search.action import Action
from search.confidence import half_width
from search.contest import Bounds, Contest, FloatArray
from search.decision import Candidate, score_action
from search.evaluations import FirstScores, OnProgress, unseen
from search.settings import EvolutionSettings
from supernet.architecture import Architecture
from supernet.growth import Growth

Latency = Callable[[Architecture], float]
OnRung = Callable[[dict[str, float]], None]


@dataclass(frozen=True)
class _Runner:
    """An action in the race.

    Attributes:
        before: what it is compared with.
        after: what shows its effect.
        delta_latency_ms: of the action.
        alone: whether it is judged by itself, on the architecture that is decided on.
        scores: of both, of the first prompts; as many as were drawn for it.
    """

    action: Action
    before: Architecture
    after: Architecture
    delta_latency_ms: float
    alone: bool
    scores: tuple[Scores, Scores] = (Scores(()), Scores(()))

    @property
    def drawn(self) -> int:
        return len(self.scores[1].first)

    def differences(self, count: int) -> FloatArray:
        """Of the first prompts, ``(count,)``."""
        before, after = (np.asarray(scores.first[:count]) for scores in self.scores)
        return after - before


class Race:
    """The actions of one decision.

    Args:
        evaluations: gives scores.
        current: the architecture that is decided on.
        latency: of any architecture, in ms.
        settings: of the search.
        batch_size: of the prompts that are drawn at a time.

    Attributes:
        alone: every action as it was judged by itself.
        ranking: what removals are ordered by.
        on_rung: told, before each drawing, how many actions are ``open``, on how many ``prompts``
            they are judged next, and how many others are ``decided``, for the time being.

    Raises:
        ValueError: see :meth:`Evaluations.first`.
    """

    def __init__(
        self,
        evaluations: FirstScores,
        current: Architecture,
        latency: Latency,
        settings: EvolutionSettings,
        batch_size: int,
    ) -> None:
        self.alone: dict[Action, Candidate] = {}
        self.on_rung: OnRung = lambda figures: None
        self._evaluations = evaluations
        self._current = current
        self._latency = latency
        self._settings = settings
        self._rungs = settings.race.rungs(evaluations.prompts, batch_size)
        self._now = evaluations.first(evaluations.prompts, [current])[current.id]
        self.ranking = settings.ranking(fmean(self._now.first))
        self._runners: dict[Action, _Runner] = {}
        self._places: dict[Action, int] = {}  # by which equal values are ordered

    def enter(
        self, current: Architecture, actions: Sequence[Action], on_progress: OnProgress = unseen
    ) -> list[Candidate]:
        """Judge actions on top of an architecture, by the prompts of the first rung."""
        for action in actions:
            pair = judged_by(action, current, self._settings.growth)
            delta_ms = self._latency(action.apply(current)) - self._latency(current)
            self._places.setdefault(action, len(self._places))
            self._runners[action] = _Runner(action, *pair, delta_ms, current == self._current)
        return self._draw(actions, self._rungs[0], on_progress)

    def settle(
        self, candidates: Sequence[Candidate], wanted: int, useful_ms: float
    ) -> list[Candidate]:
        """Judge removals on more prompts until it is clear which have the smallest values.

        Args:
            candidates: all that are left to choose from, as they were judged last.
            wanted: how many it is about.
            useful_ms: what is still to be saved.
        """
        scored = {candidate.action: candidate for candidate in candidates}
        race, prompts = self._settings.race, self._evaluations.prompts
        contest = Contest(self.ranking, useful_ms, prompts, race.level, len(scored))
        bounds = {action: self._bounds(c, contest) for action, c in scored.items()}
        while 0 < wanted < len(scored):
            doubtful = contest.doubtful(list(bounds.values()), wanted)
            if not doubtful:
                break
            least = min(each.drawn for each in doubtful)
            behind = [each.action for each in doubtful if each.drawn == least]
            rung = next(rung for rung in self._rungs if rung > least)
            for candidate in self._draw(behind, rung):
                scored[candidate.action] = candidate
                bounds[candidate.action] = self._bounds(candidate, contest)
        return list(scored.values())

    def judge_all(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The same, judged on all prompts."""
        return self._draw([c.action for c in candidates], self._evaluations.prompts)

    def worthwhile(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Judge additions on more prompts, all of them unless they surely gain no CLIP score."""
        scored = {candidate.action: candidate for candidate in candidates}
        prompts = self._evaluations.prompts
        for rung in self._rungs[1:]:
            running = [a for a in scored if self._may_gain(a, len(candidates))]
            scored.update({c.action: c for c in self._draw(running, rung)})
        return [c for c in scored.values() if self._runners[c.action].drawn == prompts]

    def _draw(
        self, actions: Sequence[Action], count: int, on_progress: OnProgress = unseen
    ) -> list[Candidate]:
        """The actions, judged on the first ``count`` prompts."""
        decided = len(self._runners) - len(actions)
        self.on_rung({"open": len(actions), "decided": decided, "prompts": count})
        runners = [self._runners[action] for action in actions]
        wanted = [each for runner in runners for each in (runner.before, runner.after)]
        known = self._evaluations.first(count, wanted, on_progress)
        candidates = []
        for runner in runners:
            scores = known[runner.before.id], known[runner.after.id]
            self._runners[runner.action] = replace(runner, scores=scores)
            candidates.append(
                score_action(runner.action, self._now, *scores, runner.delta_latency_ms)
            )
        self.alone.update({c.action: c for c in candidates if self._runners[c.action].alone})
        return candidates

    def _bounds(self, candidate: Candidate, contest: Contest) -> Bounds:
        action = candidate.action
        differences = self._runners[action].differences(candidate.prompts)
        return contest.bounds(candidate, differences, self._places[action])

    def _may_gain(self, action: Action, rivals: int) -> bool:
        runner = self._runners[action]
        gains = runner.differences(runner.drawn)
        level = 2 * self._settings.race.level / (1 + rivals)
        width = half_width(runner.drawn, level, self._evaluations.prompts)
        return bool(gains.mean() + width * gains.std(ddof=1) > 0)


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
