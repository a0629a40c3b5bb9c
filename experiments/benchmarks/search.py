"""Is the search right? Strategies against the exhaustive answer, at equal budgets.

Every architecture of a small space was scored once (``enumerated_space.py``), so the true optimum
for any latency is known, and so is what every strategy missed by. Prompts are drawn anew from those
recorded for every seed, with replacement: each seed is a truth of its own, the same for all
strategies. No strategy trains, so only the search itself is compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from statistics import mean

import torch
from rich.console import Console
from torch import Tensor

from evaluators.job import Scores
from experiments.benchmarks.benchmark import Figure, Goal
from experiments.benchmarks.controller import overhead
from experiments.benchmarks.enumerated_space import EnumeratedSpace, load_space
from experiments.progress import track
from search.evaluations import OnProgress, unseen
from search.round import Round, Strategy
from search.settings import EvolutionSettings, RacingSettings
from search.strategies import STRATEGIES, EvolutionStrategy
from supernet.architecture import Architecture

BUDGETS = (50, 100, 200, 400)
_SHARES = (0.15, 0.3, 0.45, 0.6, 0.75)  # of the way from the fastest to the base
_SEEDS, _QUICK_SEEDS = 20, 1
_DEFAULT, _PAPER = "evolution", "paper"
_RESAMPLED = 1000  # for confidence intervals


@dataclass(frozen=True)
class Truth:
    """Scores of every architecture of the space, by the prompts of one seed.

    Attributes:
        space: what was recorded.
        scores: by architecture, ``(prompts,)`` each.
        clip: their means, in the order of the space.
        ms: latencies, likewise.
    """

    space: EnumeratedSpace
    scores: dict[Architecture, tuple[float, ...]]
    clip: Tensor
    ms: Tensor

    @classmethod
    def drawn(cls, space: EnumeratedSpace, seed: int) -> Truth:
        """By prompts drawn with replacement."""
        generator = torch.Generator().manual_seed(seed)
        prompts = space.scores.shape[1]
        scores = space.scores[:, torch.randint(prompts, (prompts,), generator=generator)]
        every = space.architectures()
        rows = [tuple(row) for row in scores.tolist()]
        ms = torch.tensor([space.latency(each) for each in every], dtype=torch.float64)
        return cls(space, dict(zip(every, rows, strict=True)), scores.mean(dim=1), ms)

    def best(self, goal_ms: float) -> float:
        """The highest score that reaches a goal."""
        return self.clip[self.ms <= goal_ms].max().item()


class Recorded:
    """Scores as :class:`search.evaluations.FirstScores` gives them; counts what is asked for."""

    def __init__(self, truth: Truth) -> None:
        self.prompts = truth.space.scores.shape[1]
        self._scores = truth.scores
        self._seen: dict[str, int] = {}

    @property
    def asked(self) -> int:
        return sum(self._seen.values())

    def first(
        self, count: int, architectures: Sequence[Architecture], on_progress: OnProgress = unseen
    ) -> dict[str, Scores]:
        for each in architectures:
            self._seen[each.id] = max(count, self._seen.get(each.id, 0))
        return {each.id: Scores(self._scores[each][:count]) for each in architectures}


def ask(truth: Truth, name: str, goal_ms: float, budget: int, seed: int) -> Round:
    """What a strategy is asked; only blocks of the space may go."""
    space = truth.space
    settings = EvolutionSettings(
        target_ms=goal_ms,
        caution=0,  # these prompts are all there are
        refine=budget,
        evaluations=budget,
        race=RacingSettings(racing=False),
    )
    return Round(
        space.full,
        goal_ms,
        space.latency,
        Recorded(truth),
        settings.as_published() if name == _PAPER else settings,
        batch_size=space.scores.shape[1],
        seed=seed,
        keep=frozenset(space.full) - frozenset(space.blocks),
    )


def regret_pct(truth: Truth, name: str, goal_ms: float, budget: int, seed: int) -> float:
    """By how much a strategy's answer is below the optimum, in percent of it."""
    question = ask(truth, name, goal_ms, budget, seed)
    after = _strategy(name).choose(question).after
    return 100 * (1 - mean(truth.scores[after]) / truth.best(goal_ms))


def front_of(
    truth: Truth, name: str, goals: Sequence[float], budget: int, seed: int
) -> Mapping[Architecture, float]:
    """All that a strategy measures within a budget when a front is wanted.

    Evolution and NSGA-II have a way to ask for one; others are asked for each of some goals, with
    as much of the budget for each.
    """
    least, base = truth.ms.min().item(), truth.ms.max().item()
    if name == _DEFAULT:
        question = ask(truth, name, least, budget, seed)
        EvolutionStrategy().front(question)
        return question.known
    if name == "nsga2":
        question = ask(truth, name, base, budget, seed)
        STRATEGIES[name].choose(question)
        return question.known
    known: dict[Architecture, float] = {}
    scores = Recorded(truth)  # what one goal asked for is known for the next
    for goal in goals:
        question = replace(ask(truth, name, goal, budget // len(goals), seed), evaluations=scores)
        _measure_answer(question, _strategy(name).choose(question).after)
        known |= question.known
    return known


def _measure_answer(question: Round, after: Architecture) -> None:
    """A greedy answer is not measured as a whole otherwise."""
    question.first(question.prompts, [after])


def _strategy(name: str) -> Strategy:
    return STRATEGIES[_DEFAULT if name == _PAPER else name]


def hypervolume(truth: Truth, scores: Mapping[Architecture, float]) -> float:
    """Between some scores' front and the worst corner: the base's latency, the fastest's score."""
    floor = truth.clip[truth.ms.argmin()].item()
    end = truth.ms.max().item()
    volume, best = 0.0, floor
    for each in sorted(scores, key=truth.space.latency):
        gain = scores[each] - best
        if gain > 0:
            volume += gain * (end - truth.space.latency(each))
            best = scores[each]
    return volume


def run(quick: bool, console: Console) -> list[Figure]:
    """Compare all strategies on the recorded space, and time the controller."""
    space = load_space()
    seeds = range(_QUICK_SEEDS if quick else _SEEDS)
    budgets = BUDGETS[:2] if quick else BUDGETS
    names = (*STRATEGIES, _PAPER)
    work = [(name, budget, seed) for seed in seeds for name in names for budget in budgets]
    regrets: dict[tuple[str, int], list[list[float]]] = {}
    volumes: dict[tuple[str, int], list[float]] = {}
    truth = Truth.drawn(space, 0)
    least, base = truth.ms.min().item(), truth.ms.max().item()
    goals = [least + share * (base - least) for share in _SHARES]
    with track(console, "search: runs", len(work)) as on_progress:
        for done, (name, budget, seed) in enumerate(work):
            truth = Truth.drawn(space, seed)
            missed = [regret_pct(truth, name, goal, budget, seed) for goal in goals]
            regrets.setdefault((name, budget), []).append(missed)
            every = {each: mean(scores) for each, scores in truth.scores.items()}
            found = hypervolume(truth, front_of(truth, name, goals, budget, seed))
            volumes.setdefault((name, budget), []).append(found / hypervolume(truth, every))
            on_progress(done + 1, {})
    what = (
        f"{len(space.blocks)} blocks of the shapes supernet, {len(truth.clip)} architectures on "
        f"{space.scores.shape[1]} prompts; {len(goals)} latencies from {goals[0] / base:.0%} to "
        f"{goals[-1] / base:.0%} of the base's, {len(seeds)} seeds"
    )
    figures = (_regrets(regrets, what), _volumes(volumes, what), _rivals(regrets, what))
    return [*chain.from_iterable(figures), overhead(quick, console)]


Regrets = Mapping[tuple[str, int], Sequence[Sequence[float]]]  # by strategy and budget


def _regrets(regrets: Regrets, what: str) -> Iterator[Figure]:
    for (name, budget), missed in regrets.items():
        values = torch.tensor(missed, dtype=torch.float64)  # (seeds, goals)
        yield Figure(
            f"{_prefix(name)}regret_pct_at_{budget}",
            values.mean().item(),
            f"CLIP below the optimum's, mean, of {_about(name)} within {budget} evaluations; "
            f"{what}; spread: 95 % bootstrap over seeds",
            spread=_interval(values.mean(dim=1)),
            goal=Goal("<=", 0.5) if (name, budget) == (_DEFAULT, 100) else None,
        )
        if name == _DEFAULT:
            yield Figure(
                f"worst_regret_pct_at_{budget}",
                values.mean(dim=0).max().item(),
                f"the same at the latency where it is largest, mean over seeds; {what}",
                goal=Goal("<=", 0.5) if budget == 100 else None,
            )


def _volumes(volumes: Mapping[tuple[str, int], Sequence[float]], what: str) -> Iterator[Figure]:
    for (name, budget), ratios in volumes.items():
        values = torch.tensor(ratios, dtype=torch.float64)
        yield Figure(
            f"{_prefix(name)}hypervolume_ratio_at_{budget}",
            values.mean().item(),
            f"of what {_about(name)} measures in {budget} evaluations over the true one; {what}; "
            "spread: 95 % bootstrap over seeds",
            spread=_interval(values),
            goal=Goal(">=", 0.98) if (name, budget) == (_DEFAULT, 100) else None,
        )


def _rivals(regrets: Regrets, what: str) -> Iterator[Figure]:
    """What the default is ahead of each other strategy by."""
    for (name, budget), missed in regrets.items():
        if name != _DEFAULT:
            other, own = (
                torch.tensor(each, dtype=torch.float64).mean(dim=1)
                for each in (missed, regrets[_DEFAULT, budget])
            )
            yield Figure(
                f"ahead_of_{name}_pct_at_{budget}",
                (other - own).mean().item(),
                f"regret of {_about(name)} less that of the default, paired by seed; {what}; "
                "spread: 95 % bootstrap over seeds",
                spread=_interval(other - own),
                goal=Goal(">=", 0),
            )


def _prefix(name: str) -> str:
    return "" if name == _DEFAULT else f"{name}_"


def _about(name: str) -> str:
    return "evolution as published" if name == _PAPER else name


def _interval(values: Tensor) -> tuple[float, float]:
    """Of the mean, by resampling seeds."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(len(values), (_RESAMPLED, len(values)), generator=generator)
    means = values[rows].mean(dim=1)
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high
