"""How Algorithm 1 is run."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from search.budget import Budget
from search.ranking import Ranking
from supernet.block_groups import Grouping
from supernet.growth import Growth


class RacingSettings(BaseModel):
    """How many prompts an action is judged on.

    Attributes:
        racing: whether an action is judged on more prompts only while it may still be the one to
            execute; otherwise every action is judged on all of them.
        level: chance that a race is won by another action than all prompts would have chosen.
        first_prompts: that every action is judged on at least; then on half as many more, and
            so on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    racing: bool = True
    level: float = Field(0.05, gt=0, lt=1)
    first_prompts: int = Field(32, ge=8)

    def rungs(self, prompts: int, batch_size: int) -> tuple[int, ...]:
        """Numbers of prompts to look at, in whole batches; the last is all of them."""
        if not self.racing:
            return (prompts,)
        batches = -(-self.first_prompts // batch_size)
        rungs = []
        while batches * batch_size < prompts:
            rungs.append(batches * batch_size)
            batches += max(1, batches // 2)
        return (*rungs, prompts)


class EvolutionOptions(BaseModel):
    """How Algorithm 1 is run, as far as that depends on nothing else.

    The paper executes "a group of actions at a time" without saying how many. Here a round
    removes until it has covered its share of the way to the target: after round r of ``rounds``
    the latency is at most ``base * (target / base) ** (r / rounds)``.

    Attributes:
        rounds: rounds of removals; more where ``actions`` or ``round_loss`` end a round early.
        actions: that a round executes at most; None for as many as its share of the way takes.
        round_loss: share of the CLIP score that the removals of a round may cost together; None
            for any. What would exceed it has to wait for the training that follows. A round
            executes one at least.
        min_clip: score below which nothing is executed: the search ends before, short of its
            target.
        caution: removals are ranked by the value that they would have if CLIP turned out this
            many standard errors worse than measured; 0 ranks them as the paper does.
        negligible_loss: share of the CLIP score that is as good as nothing: removals that lose
            less, or seem to gain, are ranked by what they save alone; 0 ranks as the paper does.
            The default is half of what one model's score varies by between draws of 2,000
            prompts (0.0006 of 0.268).
        recheck: after every removal of a round, so many of the best ones left are scored again at
            a time, on top of those before; 0 scores every removal once, as the paper does.
        refine: after a round's removals are chosen, so many others that reach its goal and differ
            in a few blocks are measured as wholes, and the best is taken if it is better by
            ``caution`` standard errors; 0 for none, as the paper, and none where ``actions``
            limits a round.
        evaluations: architectures that a round may judge on all prompts. Single removals are
            judged whatever their number; what is spared there is left to others.
        grow: whether to add blocks where the target leaves slack.
        growth: how an added copy begins: as its source, and then it is scored by what it changes;
            or as the ``identity``, and then by what its source is worth, as the paper does.
        groups: which groups of blocks an action may remove or add at once, besides single blocks.
        patience: rounds of additions in a row that execute nothing, after which the search ends.
            Each trains once more, which may change what pays.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rounds: int = Field(4, ge=1)
    actions: int | None = Field(None, ge=1)
    round_loss: float | None = Field(None, gt=0, lt=1)
    min_clip: float | None = None
    caution: float = Field(1.0, ge=0)
    negligible_loss: float = Field(0.001, ge=0, lt=1)
    recheck: int = Field(2, ge=0)
    refine: int = Field(8, ge=0)
    evaluations: int = Field(200, ge=2)
    grow: bool = True
    growth: Growth = "copy"
    groups: tuple[Grouping, ...] = ()
    patience: int = Field(1, ge=1)


class EvolutionSettings(EvolutionOptions):
    """How Algorithm 1 is run, to what target and on what.

    Attributes:
        target_ms: latency to reach by the table, in ms of one UNet pass.
        budget: that ends a search before.
        race: how many prompts an action is judged on.
    """

    target_ms: float = Field(gt=0)
    budget: Budget = Budget()
    race: RacingSettings = RacingSettings()

    def as_published(self) -> EvolutionSettings:
        """The same without what goes beyond the paper in choosing removals."""
        changes = {"caution": 0.0, "negligible_loss": 0.0, "recheck": 0, "refine": 0}
        return self.model_copy(update=changes)

    def ranking(self, clip: float) -> Ranking:
        """How removals are ordered where the architecture that is judged has this CLIP score."""
        negligible = self.negligible_loss * abs(clip)
        return Ranking(self.caution, negligible) if negligible else Ranking(self.caution)

    @property
    def whole_rounds(self) -> bool:
        """Whether every round goes its share of the way."""
        return self.actions is None and self.round_loss is None

    def rounds_left(self, round_: int) -> int:
        """Rounds from ``round_`` to the target, if their number is known, else 1."""
        return max(1, self.rounds - round_ + 1) if self.whole_rounds else 1

    def goal_ms(self, base_ms: float, round_: int) -> float:
        """Latency that round ``round_`` (from 1) has to reach, in ms."""
        if round_ >= self.rounds or not self.whole_rounds:
            return self.target_ms
        share = round_ / self.rounds
        return float(base_ms * (self.target_ms / base_ms) ** share)
