"""The search of a decoder's sizes: short trainings with successive halving, by Ray Tune's ASHA.

What is kept of it are the outcomes, as JSON. A search that is gone on with tells the scheduler
these again in their order, so that it decides as it would have; what Tune itself stores is
thrown away.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count as numbers
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from ray import tune
from ray.tune.schedulers import ASHAScheduler

from distillation.decoder_training import DecoderTraining, train_decoder
from distillation.inheritance import inherit
from evaluators.pipelines import load_pipeline
from evaluators.ray_session import ray_session
from experiments.decoder.candidates import Candidate, Outcome, load_outcome
from experiments.decoder.measures import psnr_on
from experiments.decoder.section import DecoderSearchSection
from experiments.decoder.stored_pairs import StoredPairs
from experiments.progress import OnProgress


@dataclass(frozen=True)
class ShortTraining:
    """The training that all candidates are tried by.

    Attributes:
        pipeline: the teacher's folder or Hugging Face id.
        pairs: folder of the pairs to train on.
        held_out: folder of those to measure on.
        settings: of the training; it keeps no average of the weights.
        seed: of the order of pairs.
        rungs: steps after which candidates are compared; the last is the training's end.
        use_gpu: one GPU for each candidate.
    """

    pipeline: str
    pairs: Path
    held_out: Path
    settings: DecoderTraining
    seed: int
    rungs: tuple[int, ...]
    use_gpu: bool = False

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits for all that outcomes follow from, but the pairs."""
        text = f"{self.settings.model_dump_json()} {self.seed} {self.rungs}"
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def short_settings(training: DecoderTraining, section: DecoderSearchSection) -> DecoderTraining:
    """Those of a candidate's training."""
    return training.model_copy(update={"steps": section.steps, "ema_decay": 0.0})


def rungs_of(section: DecoderSearchSection) -> tuple[int, ...]:
    """Steps after which candidates are compared, and the last step."""
    steps = (section.first_rung * section.reduction**level for level in numbers())
    return (*takewhile(lambda step: step < section.steps, steps), section.steps)


def try_candidates(
    candidates: Sequence[Candidate],
    training: ShortTraining,
    section: DecoderSearchSection,
    folder: Path,
    address: str | None,
    on_progress: OnProgress,
) -> list[Outcome]:
    """Train candidates until the scheduler stops them; one that was tried before is not again.

    Args:
        candidates: one or more.
        training: how; its folders have to be there on every node.
        section: rungs, and how many at a time.
        folder: of the outcomes.
        address: of a Ray cluster; local by default.
        on_progress: told how many candidates have come to their end.

    Returns:
        The outcomes, in the candidates' order.
    """
    known = [load_outcome(folder, candidate, training.digest) for candidate in candidates]
    record = _Record(candidates, training, folder, known, on_progress)
    # The scheduler compares one with those that were there before it, so slow ones, which are
    # likely to be better, come first: else it would hardly stop any.
    order = sorted(range(len(candidates)), key=lambda number: -candidates[number].latency_ms)
    scheduler = ASHAScheduler(
        time_attr="step",
        metric="psnr_db",
        mode="max",
        max_t=section.steps,
        grace_period=section.first_rung,
        reduction_factor=section.reduction,
    )
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    with ray_session(section.concurrent, address), tempfile.TemporaryDirectory() as scratch:
        each = tune.with_parameters(_try, training=training, candidates=candidates, known=known)
        results = tune.Tuner(
            tune.with_resources(each, {"cpu": 1, "gpu": int(training.use_gpu)}),
            param_space={"candidate": tune.grid_search(order)},
            tune_config=tune.TuneConfig(
                scheduler=scheduler, max_concurrent_trials=section.concurrent
            ),
            run_config=tune.RunConfig(storage_path=scratch, callbacks=[record], verbose=0),
        ).fit()
        if results.errors:
            raise RuntimeError(f"a candidate could not be trained: {results.errors[0]}")
    return record.outcomes


class _Record(tune.Callback):
    """Keeps what trials report, in this process, and stores it when they end."""

    def __init__(
        self,
        candidates: Sequence[Candidate],
        training: ShortTraining,
        folder: Path,
        known: Sequence[Outcome | None],
        on_progress: OnProgress,
    ) -> None:
        self._candidates = candidates
        self._training = training
        self._folder = folder
        self._known = known
        self._on_progress = on_progress
        self._reports: dict[int, list[tuple[int, float]]] = {}
        self._ended: dict[int, Outcome] = {}

    @property
    def outcomes(self) -> list[Outcome]:
        """Of all candidates, once all have ended."""
        return [self._ended[number] for number in range(len(self._candidates))]

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: Any, **_: Any
    ) -> None:
        reports = self._reports.setdefault(trial.config["candidate"], [])
        reports.append((result["step"], result["psnr_db"]))

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
        number = trial.config["candidate"]
        steps, psnr_db = zip(*self._reports[number], strict=True)
        outcome = Outcome(training=self._training.digest, steps=steps, psnr_db=psnr_db)
        if self._known[number] is None:
            outcome.save(self._folder, self._candidates[number])
        self._ended[number] = outcome
        best = max(each.psnr_db[-1] for each in self._ended.values())
        self._on_progress(len(self._ended), {"best_psnr_db": best})


def _try(
    config: Mapping[str, int],
    training: ShortTraining,
    candidates: Sequence[Candidate],
    known: Sequence[Outcome | None],
) -> None:
    """What a worker of Tune runs: one candidate, as far as the scheduler lets it."""
    outcome = known[config["candidate"]]
    if outcome is not None:
        for step, psnr_db in zip(outcome.steps, outcome.psnr_db, strict=True):
            tune.report({"step": step, "psnr_db": psnr_db})
        return
    torch.set_num_threads(1)
    device = "cuda" if training.use_gpu else "cpu"
    teacher = load_pipeline(training.pipeline).vae.to(device)
    pairs, held_out = (StoredPairs(each, teacher) for each in (training.pairs, training.held_out))
    measured = held_out.rows(list(range(len(held_out))))
    student = inherit(teacher, candidates[config["candidate"]].architecture)

    def told(done: int, _: dict[str, float]) -> None:
        if done in training.rungs:
            tune.report({"step": done, "psnr_db": psnr_on(student, measured)})

    settings, seed = training.settings, training.seed
    batches = pairs.batches(settings.batch_size, seed)
    train_decoder(student, batches, settings, seed, on_progress=told)
