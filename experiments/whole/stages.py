"""The stages of a whole run: what each follows from, and how it is done in a place of its own."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from contextlib import nullcontext
from dataclasses import dataclass
from typing import ClassVar

from evaluators.pipelines import load_pipeline
from evaluators.ray_session import ray_session
from evaluators.scorers import CaptionAccuracy, ClipModel, ScorerSettings
from experiments.decoder.folder import DecoderFolder
from experiments.decoder.parts import prepare as prepare_decoder
from experiments.decoder.run import distill as distill_decoder
from experiments.experiment import Experiment
from experiments.models import SHAPES, pipeline_source, supernet_weights
from experiments.progress import track
from experiments.run_folder import RunFolder
from experiments.run_log import RunLog
from experiments.search_parts import prepare as prepare_search
from experiments.search_parts import settle
from experiments.search_run import open_pool, search
from experiments.sections import ModelSection
from experiments.shapes.base import JUDGE, PIPELINE, BaseModels
from experiments.steps.folder import StepsFolder
from experiments.steps.parts import prepare as prepare_steps
from experiments.steps.run import distill as distill_steps
from experiments.steps.section import inputs_of
from experiments.training import load_unet_weights, open_trainer, train_supernet
from experiments.whole.folder import WholeFolder
from experiments.whole.section import BASE, FOUND, StageName


@dataclass(frozen=True)
class WholeRun:
    """A run on its way.

    Attributes:
        experiment: what was asked for.
        folder: where everything goes; held by this process.
        log: told of every stage.
    """

    experiment: Experiment
    folder: WholeFolder
    log: RunLog

    def has(self, stage: StageName) -> bool:
        """Whether it does a stage."""
        return stage in self.experiment.whole.stages

    @property
    def pipeline(self) -> str:
        """The base pipeline: folder, Hugging Face id or ``shapes``."""
        return str(self.folder.base / PIPELINE) if self.has("base") else self._model.pipeline

    @property
    def settings(self) -> Experiment:
        """The experiment with the models that earlier stages make, for those that go on from them.

        Sections of other stages stay: each stage reads its own.
        """
        supernet = str(self.folder.supernet) if self.has("supernet") else self._model.supernet
        model = self._model.model_copy(update={"pipeline": self.pipeline, "supernet": supernet})
        evaluation = self.experiment.evaluation
        if self.has("base"):
            judges = {name: self._judge(getattr(evaluation, name)) for name in ("scorer", "second")}
            evaluation = evaluation.model_copy(update=judges)
        return self.experiment.model_copy(update={"model": model, "evaluation": evaluation})

    @property
    def _model(self) -> ModelSection:
        return self.experiment.model

    def _judge(self, settings: ScorerSettings | None) -> ScorerSettings | None:
        if not isinstance(settings, ClipModel | CaptionAccuracy) or settings.name != SHAPES:
            return settings
        return settings.model_copy(update={"name": f"local-dir:{self.folder.base / JUDGE}"})


class WholeStage(ABC):
    """One stage.

    Attributes:
        name: in ``whole.stages``.
        needs: stages that it goes on from, where the run does them.
        reads: sections of the experiment that its outcome follows from.
    """

    name: ClassVar[StageName]
    needs: ClassVar[tuple[StageName, ...]] = ()
    reads: ClassVar[tuple[str, ...]]

    def text(self, experiment: Experiment) -> str:
        """Everything in the experiment that the outcome follows from."""
        return experiment.model_dump_json(include={"seed", *self.reads})

    def check(self, run: WholeRun) -> None:
        """Hear of faults before hours have passed, as far as it can be done before its turn.

        Raises:
            ValueError: in one line.
        """
        del run  # base and supernet read nothing that the experiment's own checks have not seen

    @abstractmethod
    def do(self, run: WholeRun, again: bool) -> None:
        """Do it, or go on where it was interrupted.

        Args:
            run: holds the folder.
            again: whether what is there is of other settings, or nothing.
        """


class _Base(WholeStage):
    name = "base"
    reads = ("base",)

    def do(self, run: WholeRun, again: bool) -> None:
        if again:
            shutil.rmtree(run.folder.base, ignore_errors=True)
        settings, seed = run.experiment.base, run.experiment.seed
        BaseModels(run.folder.base, settings, seed, run.log.console).train()


class _Supernet(WholeStage):
    name = "supernet"
    needs = ("base",)
    reads = ("model", "supernet")

    def do(self, run: WholeRun, again: bool) -> None:
        path, settings, model = run.folder.supernet, run.experiment.supernet, run.experiment.model
        if again:  # what a training with other settings left is none to go on from
            path.unlink(missing_ok=True)
            path.with_suffix(".training.safetensors").unlink(missing_ok=True)
        if path.exists():
            return
        source, seed = pipeline_source(run.pipeline), run.experiment.seed
        unet = load_pipeline(source).unet
        start = model.supernet and load_unet_weights(supernet_weights(model.supernet), unet)
        trainer = open_trainer(source, settings, seed, settings)
        session = ray_session(settings.workers, run.experiment.workers.address)
        with (
            session if settings.on_ray else nullcontext(),
            track(run.log.console, "robust training", settings.training.steps) as told,
        ):
            train_supernet(trainer, unet, settings, seed, path, told, start or None)


class _Search(WholeStage):
    name = "search"
    needs = ("base", "supernet")
    reads = ("model", "latency", "limits", "evaluation", "search", "training", "comparison")

    def check(self, run: WholeRun) -> None:
        if not run.has("base") and not run.has("supernet"):
            prepare_search(run.settings)

    def do(self, run: WholeRun, again: bool) -> None:
        folder, console = RunFolder(run.folder.search), run.log.console
        begun = folder.experiment.exists() and not again
        if begun:
            asked = folder.load_experiment()
            asked = asked.model_copy(update={"workers": run.experiment.workers})
            parts = prepare_search(asked)
        else:
            parts = settle(prepare_search(run.settings), console)
        log = RunLog(console, folder.log)
        with open_pool(parts, folder, log) as pool:
            if not begun:
                folder.create(parts.experiment)
            with folder.locked():
                console.print(search(parts, folder, log, pool).table())


class _Decoder(WholeStage):
    name = "decoder"
    needs = ("base",)
    reads = ("model", "latency", "evaluation", "decoder", "comparison")

    def check(self, run: WholeRun) -> None:
        if not run.has("base"):
            prepare_decoder(run.settings)

    def do(self, run: WholeRun, again: bool) -> None:
        folder = DecoderFolder(run.folder.decoder)
        parts = prepare_decoder(run.settings)
        folder.begin(run.settings, again)
        with folder.locked():
            comparison = distill_decoder(parts, folder, RunLog(run.log.console, folder.log))
        run.log.console.print(comparison.table())


class _Steps(WholeStage):
    name = "steps"
    needs = ("base", "search")
    reads = ("model", "latency", "evaluation", "steps", "comparison")

    def check(self, run: WholeRun) -> None:
        stages = run.experiment.steps.stages
        if not stages:
            raise ValueError(
                "steps.stages is empty: describe a stage (docs/steps.md), or leave 'steps' out of "
                "whole.stages"
            )
        for stage in stages:
            if FOUND in inputs_of(stage).values() and not run.has("search"):
                raise ValueError(
                    f"steps.stages: '{stage.name}' builds on '{FOUND}', which whole.stages leaves "
                    f"out; add it there, or name '{BASE}'"
                )

    def do(self, run: WholeRun, again: bool) -> None:
        # The chain knows by itself which of its stages are done, and have to be done again.
        folder = StepsFolder(run.folder.steps)
        known = {BASE: run.pipeline, FOUND: str(run.folder.search)}
        stages = tuple(
            stage.model_copy(
                update={role: known.get(name, name) for role, name in inputs_of(stage).items()}
            )
            for stage in run.experiment.steps.stages
        )
        asked = run.experiment.steps.model_copy(update={"stages": stages})
        experiment = run.settings.model_copy(update={"steps": asked})
        parts = prepare_steps(experiment)
        folder.begin(experiment, overwrite=False)
        with folder.locked():
            comparison = distill_steps(parts, folder, RunLog(run.log.console, folder.log))
        run.log.console.print(comparison.table())


_STAGES: tuple[WholeStage, ...] = (_Base(), _Supernet(), _Search(), _Decoder(), _Steps())


def stages_of(experiment: Experiment) -> list[WholeStage]:
    """The stages that an experiment does, each after those that it needs."""
    return [stage for stage in _STAGES if stage.name in experiment.whole.stages]
