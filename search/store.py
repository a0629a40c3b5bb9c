"""The memory of a run: every evaluated architecture, once, in an Optuna storage.

One finished trial per evaluation, with CLIP score and latency as its two values and all that
defines it as user attributes, so that optuna-dashboard shows it and pandas reads it. An
architecture that stays in a race is evaluated on more and more prompts: each of its trials has the
scores that are new in it, and the mean of all so far.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import optuna
from optuna.distributions import IntDistribution
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.trial import TrialState, create_trial
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from evaluators.job import Job, Scores
from supernet.architecture import MAX_MULTIPLICITY, Architecture, BlockId

_STUDY = "evounet"


class StoreError(ValueError):
    """A storage of evaluations that cannot be opened or read."""


@dataclass(frozen=True)
class EvaluationKey:
    """What scores depend on.

    Attributes:
        architecture: its id.
        weights: digest of the UNet's weights.
        conditions: prompts, noise, sampler and judges, as one text.
    """

    architecture: str
    weights: str
    conditions: str


class EvaluationStore:
    """Scores by :class:`EvaluationKey`, in a SQLite file or any storage that Optuna takes.

    Args:
        storage: a path (SQLite) or a URL (``postgresql://...``); None for this process's memory.
        conditions: prompts, noise, sampler and judges of every evaluation of this run.

    Raises:
        StoreError: if the storage is damaged or cannot be reached.
    """

    def __init__(self, storage: Path | str | None, conditions: str) -> None:
        self.conditions = conditions
        try:
            self._study = _open_study(storage)
            trials = self._study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
        except (SQLAlchemyError, StorageInternalError) as error:
            place = storage if isinstance(storage, Path) else "the storage of evaluations"
            raise StoreError(
                f"{place}: cannot be read ({str(error).splitlines()[0]}); move it away, "
                "and what it held is evaluated again"
            ) from error
        self._scores: dict[EvaluationKey, Scores] = {}
        self._counts: dict[str, dict[str, int]] = {}  # of blocks, by architecture
        for trial in trials:
            own = trial.user_attrs
            self._counts[own["architecture"]] = trial.params
            key = EvaluationKey(own["architecture"], own["weights"], own["conditions"])
            scores = Scores(tuple(own["clip_scores"]), tuple(own["second_scores"]))
            self._append(key, own["first_prompt"], scores)

    def __len__(self) -> int:
        return len(self._scores)

    def get(self, architecture: Architecture, weights: str) -> Scores:
        """Recorded scores of the first prompts, as many as there are; none of a new one."""
        return self._scores.get(
            EvaluationKey(architecture.id, weights, self.conditions), Scores(())
        )

    def recorded(self, weights: str, full: Architecture) -> dict[str, dict[Architecture, Scores]]:
        """All scores with some weights, by conditions and architecture.

        Args:
            weights: their digest.
            full: the base with every block once, whose architectures are meant.
        """
        found: dict[str, dict[Architecture, Scores]] = {}
        for key, scores in self._scores.items():
            if key.weights == weights:
                counts = self._counts[key.architecture]
                blocks = {BlockId.parse(text): count for text, count in counts.items()}
                found.setdefault(key.conditions, {})[full.with_multiplicities(blocks)] = scores
        return found

    def add(self, job: Job, weights: str, scores: Scores, latency_ms: float, round_: int) -> None:
        """Record what a job came to. Scores are facts: prompts that are there are not kept twice.

        Args:
            job: whose prompts follow on those that are there already.
            weights: digest of the UNet's weights.
            scores: of the job's prompts.
            latency_ms: of the architecture.
            round_: of the search.
        """
        architecture = job.architecture
        key = EvaluationKey(architecture.id, weights, self.conditions)
        if not self._append(key, job.rows.start, scores):
            return
        counts = {str(block): count for block, count in architecture.blocks}
        self._counts[architecture.id] = counts
        self._study.add_trial(
            create_trial(
                values=[fmean(self._scores[key].first), latency_ms],
                params=counts,
                distributions={name: IntDistribution(0, MAX_MULTIPLICITY) for name in counts},
                user_attrs={
                    "architecture": architecture.id,
                    "weights": weights,
                    "conditions": self.conditions,
                    "round": round_,
                    "first_prompt": job.rows.start,
                    "clip_scores": list(scores.first),
                    "second_scores": list(scores.second),
                },
            )
        )

    def _append(self, key: EvaluationKey, first_prompt: int, scores: Scores) -> bool:
        """Whether these are new: they follow on what is there."""
        known = self._scores.get(key, Scores(()))
        if first_prompt != len(known.first):
            return False
        self._scores[key] = known + scores
        return True


def _open_study(storage: Path | str | None) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if isinstance(storage, Path):  # in whose name "?" may be, which begins something else in a URL
        storage = URL.create("sqlite", database=str(storage)).render_as_string()
    study = optuna.create_study(
        study_name=_STUDY,
        storage=storage,
        directions=["maximize", "minimize"],
        load_if_exists=True,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names(["CLIP score", "latency (ms)"])
    return study
