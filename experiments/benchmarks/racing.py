"""Do races decide as full evaluation does, and by how many pictures?

Recorded scores of every removal in the rounds of a search of the shapes world are replayed: as
many prompts as the paper judges on are drawn from those recorded, with replacement, and the same
round is decided by all of them and by a race. What is to be saved, and how cautiously, is drawn at
random. Groups are not rechecked, as in the paper: scores of groups were not recorded.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import mean

import torch
from rich.console import Console
from torch import Tensor

from evaluators.job import Scores
from experiments.benchmarks.benchmark import Figure, Goal
from experiments.benchmarks.recorded_scores import SHIPPED, RecordedRound, load_rounds
from experiments.models import SHAPES
from experiments.progress import track
from experiments.unets import choose_unet
from search.action import Action
from search.choice import choose_removals
from search.evaluations import OnProgress, unseen
from search.race import Race
from search.settings import EvolutionSettings, RacingSettings
from supernet.architecture import Architecture

_PROMPTS = 2000  # of the paper's validation set
_BATCH = 32
_DECISIONS, _QUICK = 200, 20


@dataclass(frozen=True)
class Replay:
    """One decision, taken twice.

    Attributes:
        equal: whether both removed the same blocks.
        share: pictures of the race over those of full evaluation.
        least_share: the same of whoever knows beforehand where to look; see :func:`least_pictures`.
        regret: CLIP score that the race lost in addition, over all prompts; losses that are
            negligible count as such, and latency that it saved in addition with what the last
            removal pays for it.
        standard_error: of that difference.
    """

    equal: bool
    share: float
    least_share: float
    regret: float
    standard_error: float


class RoundScores:
    """A round's scores on prompts drawn from those recorded; counts what is asked for.

    Attributes:
        prompts: how many.
        current: the architecture that is decided on.
        actions: with the rows of their scores.
        changes: score after minus before, ``(actions, prompts)``.
    """

    def __init__(self, recorded: RecordedRound, full: Architecture, rows: Tensor) -> None:
        self.prompts = len(rows)
        self.actions = {
            action: i
            for i, action in enumerate(Action.parse(each, full) for each in recorded.actions)
        }
        here = {block for action in self.actions for block in action.members}
        self.current = full.without(block for block in full if block not in here)
        self.changes = (recorded.after - recorded.before)[:, rows]
        self._delta_ms = recorded.delta_latency_ms.tolist()
        self._base_ms = recorded.base_ms
        before, after = recorded.before[rows].tolist(), recorded.after[:, rows].tolist()
        self._scores = {self.current.id: tuple(before)} | {
            action.apply(self.current).id: tuple(after[i]) for action, i in self.actions.items()
        }
        self._drawn: dict[str, int] = {}

    @property
    def asked(self) -> int:
        return sum(self._drawn.values())

    def latency(self, architecture: Architecture) -> float:
        return self._base_ms + sum(
            self._delta_ms[i]
            for action, i in self.actions.items()
            if not any(architecture[block] for block in action.members)
        )

    def first(
        self, count: int, architectures: Sequence[Architecture], on_progress: OnProgress = unseen
    ) -> dict[str, Scores]:
        for each in architectures:
            self._drawn[each.id] = max(count, self._drawn.get(each.id, 0))
        return {each.id: Scores(self._scores[each.id][:count]) for each in architectures}

    def price(self, taken: set[Action]) -> float:
        """CLIP score for each ms that the dearest of some removals costs, over all prompts."""
        rows = [self.actions[action] for action in taken]
        lost = self.changes[rows].mean(dim=1).tolist()
        return max(change / self._delta_ms[i] for i, change in zip(rows, lost, strict=True))

    def pictures(self) -> int:
        """That were asked for, with those of the architecture that was decided for."""
        return self.asked + self.prompts


def run(quick: bool, console: Console) -> list[Figure]:
    """Replay decisions on the recorded scores that are shipped."""
    rounds = load_rounds(SHIPPED)
    full = choose_unet(SHAPES).inventory.full()
    count = _QUICK if quick else _DECISIONS
    replays = []
    with track(console, "racing: decisions", count) as on_progress:
        for i in range(count):
            replays.append(replay(rounds[i % len(rounds)], full, _PROMPTS, seed=i))
            on_progress(i + 1, {})
    recorded = len(rounds[0].before)
    return figures(
        replays,
        f"{count} decisions of {len(rounds)} recorded rounds, {_PROMPTS} prompts drawn "
        f"from {recorded}, level {RacingSettings().level:g}",
    )


def figures(replays: Sequence[Replay], on_what: str) -> list[Figure]:
    """What replays come to."""
    equal = [each.equal for each in replays]
    regrets = [each.regret / each.standard_error for each in replays if not each.equal]
    shares = torch.tensor([100 * each.share for each in replays], dtype=torch.float64)
    low, high = shares.quantile(torch.tensor([0.25, 0.75], dtype=torch.float64)).tolist()
    return [
        Figure(
            "equal_decisions_pct",
            100 * mean(equal),
            f"races that removed what all prompts would have removed; {on_what}",
            goal=Goal(">=", 95),
        ),
        Figure(
            "images_pct",
            shares.mean().item(),
            f"pictures of a race over those of full evaluation; spread: quartiles; {on_what}",
            spread=(low, high),
            goal=Goal("<=", 20),
        ),
        Figure(
            "images_pct_least",
            100 * mean(each.least_share for each in replays),
            "the same if it were known beforehand which value lies between the blocks to remove "
            "and the others, and each were judged until it is on its side by 1.96 standard errors",
        ),
        Figure(
            "regret_in_standard_errors",
            max(regrets, default=0.0),
            f"the most CLIP that one of {len(regrets)} other decisions lost, over the standard "
            f"error of the difference; {on_what}",
            goal=Goal("<=", 1),
        ),
    ]


def replay(recorded: RecordedRound, full: Architecture, prompts: int, seed: int) -> Replay:
    """Decide a round by a race and by full evaluation.

    Args:
        recorded: the round.
        full: the base with every block once.
        prompts: to draw from those recorded.
        seed: of these prompts and of what is to be decided.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(recorded.before), (prompts,), generator=generator)
    share, further, caution = torch.rand(3, generator=generator).tolist()
    goal_ms = recorded.base_ms * (1 - 0.05 - 0.3 * share)
    target_ms = goal_ms * (1.0 if further < 0.25 else 0.7)

    def decide(racing: bool) -> tuple[RoundScores, Race, set[Action]]:
        scores = RoundScores(recorded, full, drawn)
        settings = EvolutionSettings(
            target_ms=target_ms,
            caution=(0.0, 1.0, 3.0)[int(3 * caution)],
            recheck=0,
            race=RacingSettings(racing=racing),
        )
        race = Race(scores, scores.current, scores.latency, settings, _BATCH)
        candidates = race.enter(scores.current, list(scores.actions))
        taken = choose_removals(candidates, scores.current, scores.latency, goal_ms, settings, race)
        return scores, race, {candidate.action for candidate in taken}

    (by_all, full_race, right), (raced, _, taken) = decide(racing=False), decide(racing=True)
    rows = [by_all.actions[action] for action in (*(right - taken), *(taken - right))]
    signs = torch.tensor([1.0] * len(right - taken) + [-1.0] * len(taken - right)).double()
    changes = by_all.changes[rows]
    counted = changes.mean(dim=1).clamp(max=-full_race.ranking.negligible)
    # What it lost more, less what the time that it saved more is worth to full evaluation.
    more_ms = signs @ recorded.delta_latency_ms[rows]
    regret = signs @ counted - by_all.price(right) * more_ms
    return Replay(
        equal=right == taken,
        share=raced.pictures() / by_all.pictures(),
        least_share=least_pictures(full_race, right, prompts) / by_all.pictures(),
        regret=regret.item(),
        standard_error=(signs @ changes).std().item() / prompts**0.5,
    )


def least_pictures(race: Race, taken: Collection[Action], prompts: int) -> float:
    """Of whoever knows beforehand which value lies between the best and the others.

    Every action is then judged until it is on its side by 1.96 standard errors: a single look, no
    share of the level for others, no batches. If it is k standard errors by all N prompts from
    there, n prompts are enough where k² >= 1.96² (N / n - 1). Those that a negligible loss
    puts on their side need none.
    """
    values = {c.action: race.ranking.value(c) for c in race.alone.values()}
    between = (
        max(values[action] for action in taken)
        + min(value for action, value in values.items() if action not in taken)
    ) / 2
    needed = 0.0
    for c in race.alone.values():
        if c.standard_error and race.ranking.negligible < -between * c.delta_latency_ms:
            gap = (values[c.action] - between) * c.delta_latency_ms
            error = 1.96 * c.standard_error
            needed += prompts * error**2 / (gap**2 + error**2)
    return needed + 2 * prompts  # the architectures before and after
