"""The memory of a run: every evaluated architecture, once, in an Optuna storage.

One finished trial per evaluation, with CLIP score and latency as its two values and all that
defines it as user attributes, so that optuna-dashboard shows it and pandas reads it.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import optuna
from optuna.distributions import IntDistribution
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.trial import TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

from supernet.architecture import MAX_MULTIPLICITY, Architecture

_STUDY = "evounet"


class StoreError(ValueError):
    """A storage of evaluations that cannot be opened or read."""


@dataclass(frozen=True)
class EvaluationKey:
    """What a set of CLIP scores depends on.

    Attributes:
        architecture: its id.
        weights: digest of the UNet's weights.
        conditions: prompts, noise, sampler and judge, as one text.
    """

    architecture: str
    weights: str
    conditions: str


class EvaluationStore:
    """CLIP scores by :class:`EvaluationKey`, in a SQLite file or any storage that Optuna takes.

    Args:
        storage: a path (SQLite) or a URL (``postgresql://...``).
        conditions: prompts, noise, sampler and judge of every evaluation of this run.

    Raises:
        StoreError: if the storage is damaged or cannot be reached.
    """

    def __init__(self, storage: Path | str, conditions: str) -> None:
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
        self._scores: dict[EvaluationKey, tuple[float, ...]] = {}
        for trial in trials:
            attributes = trial.user_attrs
            key = EvaluationKey(
                attributes["architecture"], attributes["weights"], attributes["conditions"]
            )
            self._scores[key] = tuple(attributes["clip_scores"])

    def __len__(self) -> int:
        return len(self._scores)

    def get(self, architecture: Architecture, weights: str) -> tuple[float, ...] | None:
        """Recorded CLIP scores per prompt, or None if this was never evaluated."""
        return self._scores.get(EvaluationKey(architecture.id, weights, self.conditions))

    def add(
        self,
        architecture: Architecture,
        weights: str,
        scores: tuple[float, ...],
        latency_ms: float,
        round_: int,
    ) -> None:
        """Record an evaluation. A second one under the same key is not kept: scores are facts."""
        key = EvaluationKey(architecture.id, weights, self.conditions)
        if key in self._scores:
            return
        counts = {str(block): count for block, count in architecture.blocks}
        self._study.add_trial(
            create_trial(
                values=[mean(scores), latency_ms],
                params=counts,
                distributions={name: IntDistribution(0, MAX_MULTIPLICITY) for name in counts},
                user_attrs={
                    "architecture": architecture.id,
                    "weights": weights,
                    "conditions": self.conditions,
                    "round": round_,
                    "clip_scores": list(scores),
                },
            )
        )
        self._scores[key] = scores


def _open_study(storage: Path | str) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name=_STUDY,
        storage=f"sqlite:///{storage}" if isinstance(storage, Path) else storage,
        directions=["maximize", "minimize"],
        load_if_exists=True,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names(["CLIP score", "latency (ms)"])
    return study
