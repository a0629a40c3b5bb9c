"""One round of removals as a question: what a strategy is asked, and what it may measure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean
from typing import Protocol

from evaluators.job import Scores
from search.action import Action, removals
from search.decision import Candidate, paired_difference
from search.evaluations import FirstScores, OnProgress, unseen
from search.race import Race
from search.settings import EvolutionSettings
from supernet.architecture import Architecture, BlockId
from supernet.block_groups import BlockGroup

Latency = Callable[[Architecture], float]
_NONE = Scores(())


@dataclass
class Round:
    """What is to be removed from, how far, and what that may cost.

    Attributes:
        current: the architecture as it is; an answer removes blocks of it.
        goal_ms: latency that the answer has to reach; removing all that saves time reaches it.
        latency: of any architecture, in ms.
        evaluations: give scores.
        settings: of the search.
        batch_size: of the prompts that are drawn at a time.
        seed: of this round.
        groups: of blocks that an action may remove at once.
        keep: blocks that stay.
        on_progress: told of the number of evaluations.
    """

    current: Architecture
    goal_ms: float
    latency: Latency
    evaluations: FirstScores
    settings: EvolutionSettings
    batch_size: int
    seed: int = 0
    groups: Sequence[BlockGroup] = ()
    keep: frozenset[BlockId] = frozenset()
    on_progress: OnProgress = unseen
    _scores: dict[Architecture, Scores] = field(default_factory=dict, init=False)
    _known: dict[Architecture, float] = field(default_factory=dict, init=False)
    _differences: dict[Architecture, float] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._begun = self.evaluations.asked
        self.measure([self.current])

    # --- what may be answered

    @cached_property
    def savings(self) -> Mapping[BlockId, float]:
        """What removing each block that is there saves by itself, in ms, in forward order.

        Only of blocks that may go and save something.
        """
        now = self.latency(self.current)
        there = [b for b, count in self.current.blocks if count and b not in self.keep]
        saved = {block: now - self.latency(self.without([block])) for block in there}
        return {block: ms for block, ms in saved.items() if ms > 0}

    @property
    def removable(self) -> list[BlockId]:
        """Blocks that are there and whose removal saves time, in forward order."""
        return list(self.savings)

    @property
    def steps(self) -> int:
        """About how many removals it takes to reach the goal."""
        if not self.savings:
            return 0
        wanted = self.latency(self.current) - self.goal_ms
        return math.ceil(wanted / fmean(self.savings.values()))

    @property
    def actions(self) -> list[Action]:
        """Removals of single blocks, and of groups, that may be executed."""
        every = removals(self.current, self.groups)
        return [action for action in every if self.keep.isdisjoint(action.members)]

    def reaches(self, architecture: Architecture) -> bool:
        """Whether it is fast enough for this round."""
        return self.latency(architecture) <= self.goal_ms

    def settle_for(self, architecture: Architecture) -> None:
        """Ask for no more than this one reaches."""
        self.goal_ms = max(self.goal_ms, self.latency(architecture))

    def without(self, blocks: Sequence[BlockId]) -> Architecture:
        """The current architecture with one less of each of these blocks."""
        return self.current.with_multiplicities({b: self.current[b] - 1 for b in blocks})

    def removed(self, architecture: Architecture) -> list[BlockId]:
        """What an architecture has less than the current one, in forward order."""
        return [block for block, count in self.current.blocks if architecture[block] < count]

    # --- what may be measured

    @property
    def prompts(self) -> int:
        """How many there are."""
        return self.evaluations.prompts

    @property
    def asked(self) -> int:
        """See :attr:`search.evaluations.Evaluations.asked`."""
        return self.evaluations.asked

    @property
    def spent(self) -> int:
        """Architectures judged so far, in whole ones on all prompts, rounded up."""
        return -(-(self.asked - self._begun) // self.prompts)

    @property
    def left(self) -> int:
        """Architectures that may still be judged on all prompts."""
        return max(0, self.settings.evaluations - self.spent)

    def first(
        self,
        count: int,
        architectures: Sequence[Architecture],
        on_progress: OnProgress = unseen,
    ) -> dict[str, Scores]:
        """Scores of the first prompts, whatever is left; see :class:`FirstScores`."""
        spent = self.spent

        def tell(done: int, figures: dict[str, float]) -> None:
            on_progress(done, figures)
            self.on_progress(spent + done * count // self.prompts, figures)

        scores = self.evaluations.first(count, architectures, tell)
        now = self._scores.get(self.current) or scores[self.current.id]
        for each in architectures:
            if len(self._scores.get(each, _NONE).first) < count:
                own = self._scores[each] = scores[each.id]
                self._differences[each] = fmean(own.first) - fmean(now.first[:count])
                if count == self.prompts:
                    self._known[each] = fmean(own.first)
        return scores

    def measure(self, architectures: Sequence[Architecture]) -> None:
        """Judge architectures on all prompts, the first ones first, as far as the budget goes."""
        known = self.known
        new = [each for each in dict.fromkeys(architectures) if each not in known]
        self.first(self.prompts, new[: self.left])

    @property
    def known(self) -> Mapping[Architecture, float]:
        """CLIP scores of what was judged on all prompts, in the order of judging."""
        return self._known

    @property
    def differences(self) -> Mapping[Architecture, float]:
        """CLIP scores of all that was judged, minus the current one's, on the same prompts."""
        return self._differences

    def best(self) -> Architecture | None:
        """What reaches the goal with the highest score known; of equal ones, the first."""
        known = self.known
        return max(filter(self.reaches, known), key=known.__getitem__, default=None)

    def gain(self, over: Architecture, architecture: Architecture) -> float:
        """By how much more an architecture scores than another, with the settings' caution.

        Both are known. It is the mean of the differences by prompt, less ``caution`` standard
        errors: of several that are measured, the best one is so by luck too.
        """
        before, after = self._scores[over].first, self._scores[architecture].first
        mean, error = paired_difference(before, after)
        return mean - (self.settings.caution * error if math.isfinite(error) else 0.0)

    def race(self) -> Race:
        """A new race of removals."""
        race = Race(self, self.current, self.latency, self.settings, self.batch_size)
        race.on_rung = lambda figures: self.on_progress(self.spent, figures)
        return race


@dataclass(frozen=True)
class Answer:
    """What a strategy would remove.

    Attributes:
        after: the architecture without it.
        judged: actions that were judged by themselves.
        executed: what leads to ``after``, as judged last, best first; empty if that is not how it
            was found.
        remarks: how it was found, in lines for people.
    """

    after: Architecture
    judged: tuple[Candidate, ...] = ()
    executed: tuple[Candidate, ...] = ()
    remarks: tuple[str, ...] = ()


class Strategy(Protocol):
    """How the removals of a round are chosen.

    The answer reaches the goal, and is the same for the same scores and seed.
    """

    def choose(self, question: Round) -> Answer: ...

    def expected(self, question: Round) -> int:
        """About how many architectures it will judge, for people who wait."""
        ...


def explained(question: Round, answer: Answer) -> Answer:
    """An answer whose removals are judged by themselves, by the first prompts, for people."""
    race = question.race()
    actions = [Action(-1, block) for block in question.removed(answer.after)]
    executed = sorted(race.enter(question.current, actions), key=race.ranking.value)
    judged = answer.judged or tuple(race.alone.values())
    return Answer(answer.after, judged, tuple(executed), answer.remarks)
