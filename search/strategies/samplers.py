"""Optuna's samplers as strategies: NSGA-II and TPE over which blocks stay.

They are asked for a few architectures at a time, which the evaluators judge at once, and told the
scores. Nothing of them is kept: on a resume they are asked again, and the store answers. Ray Tune
is not between, since its restore has lost such searchers (ray issues 30861, 36062).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import NSGAIISampler, TPESampler
from optuna.trial import Trial

from search.round import Answer, Round
from search.strategies.random_search import random_architectures
from supernet.architecture import Architecture, BlockId

_TOGETHER = 8  # architectures that are asked for at a time, whatever the number of workers
_ASKED = 3  # times the budget; samplers repeat themselves, and ask for what is too slow


class Nsga2:
    """Evolves a front of CLIP score against latency (Deb et al. 2002), under the goal."""

    def choose(self, question: Round) -> Answer:
        size = max(4, min(_TOGETHER, question.left // 4))
        with _quietly():
            sampler = NSGAIISampler(population_size=size, seed=question.seed)
            study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
            return _sampled(question, study)

    def expected(self, question: Round) -> int:
        return question.left


class Tpe:
    """Models what good architectures have in common (Bergstra et al. 2011), under the goal."""

    def choose(self, question: Round) -> Answer:
        with _quietly():
            sampler = TPESampler(
                n_startup_trials=max(4, min(20, question.left // 4)),
                multivariate=True,
                constant_liar=True,
                seed=question.seed,
            )
            return _sampled(question, optuna.create_study(direction="maximize", sampler=sampler))

    def expected(self, question: Round) -> int:
        return question.left


def _sampled(question: Round, study: optuna.Study) -> Answer:
    """The best of what a study asks for, within the budget."""
    blocks = question.removable
    first = next(random_architectures(question))  # something that reaches the goal is known
    study.enqueue_trial({str(block): first[block] >= question.current[block] for block in blocks})
    base_ms = question.latency(question.current)
    for _ in range(max(1, _ASKED * question.left // _TOGETHER)):
        trials = [study.ask() for _ in range(_TOGETHER)]
        asked = [_architecture(question, trial, blocks) for trial in trials]
        question.measure([each for each in asked if question.reaches(each)])
        known = question.known
        for trial, each in zip(trials, asked, strict=True):
            ms = question.latency(each)
            trial.set_constraint("latency", ms / question.goal_ms - 1)  # met where not positive
            # What is too slow is not judged: how much too slow it is says enough.
            values = [known.get(each, 0.0), ms / base_ms]
            study.tell(trial, values[: len(study.directions)])
        if question.left == 0:
            break
    after = question.best()
    assert after is not None
    asked_by = type(study.sampler).__name__
    return Answer(after, remarks=(f"the best of {len(question.known)} that {asked_by} asked for",))


def _architecture(question: Round, trial: Trial, blocks: Sequence[BlockId]) -> Architecture:
    stays = {block: trial.suggest_categorical(str(block), (True, False)) for block in blocks}
    return question.without([block for block, there in stays.items() if not there])


@contextmanager
def _quietly() -> Iterator[None]:
    """Parts of samplers are experimental, as Optuna says at every use."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield
