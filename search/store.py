"""The memory of a run: every evaluated architecture, once, in an Optuna storage.

One finished trial per evaluation, with CLIP score and latency as its two values and all that
defines it as user attributes, so that optuna-dashboard shows it and pandas reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import optuna
from optuna.distributions import IntDistribution
from optuna.trial import TrialState, create_trial

from search.action import MAX_MULTIPLICITY
from supernet.architecture import Architecture

_STUDY = "evounet"


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
    """

    def __init__(self, storage: Path | str, conditions: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        url = f"sqlite:///{storage}" if isinstance(storage, Path) else storage
        self.conditions = conditions
        self._study = optuna.create_study(
            study_name=_STUDY,
            storage=url,
            directions=["maximize", "minimize"],
            load_if_exists=True,
        )
        self._study.set_metric_names(["CLIP score", "latency (ms)"])
        self._scores: dict[EvaluationKey, tuple[float, ...]] = {}
        for trial in self._study.get_trials(deepcopy=False, states=[TrialState.COMPLETE]):
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
