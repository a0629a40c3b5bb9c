"""What a whole run will do, need and take, from configurations and tables alone.

Nothing is downloaded and no weight is loaded, so that the plan of a cluster's run can be looked
at on a laptop.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from evaluators.latency import TableLatency
from evaluators.scorers import ScorerSettings
from experiments.experiment import Experiment
from experiments.forecast import rehearse
from experiments.models import SHAPES
from experiments.search_parts import find_demands
from experiments.space import space_table
from experiments.steps.run import drawings_of
from experiments.steps.section import DistillationStage
from experiments.unets import ChosenUNet, choose_unet
from latency_tables import LatencyTable, known_tables, load_table
from supernet.activations import PeakActivations
from supernet.inventory import GUIDED_BATCH
from supernet.training_settings import OptimizationSettings, TrainingSettings

# Published pipelines whose UNet is built in, so that they are planned for where they are not.
_BUILT_IN = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": "sd15",
    "stabilityai/stable-diffusion-2-1": "sd21",
    "stabilityai/stable-diffusion-xl-base-1.0": "sdxl",
}
_BACKWARD = 2  # a backward pass takes about as long as two forward ones
_FP32 = 4  # bytes
_GIB = 2**30


@dataclass(frozen=True)
class Need:
    """Something that a run reads.

    Attributes:
        field: of the experiment.
        name: file, folder or id.
        here: whether it is on this machine; None for what can only be known when it is loaded.
    """

    field: str
    name: str
    here: bool | None


@dataclass(frozen=True)
class StageWork:
    """What a stage takes.

    Attributes:
        stage: its name.
        what: it does, for people.
        passes: of the whole UNet with a guided picture (a batch of two), or as much work; upper
            bounds, for smaller UNets are faster and races draw less.
        memory: GiB of the UNet's weights and of what training keeps beside them, or of a drawing
            batch's activations in the working precision.
        disk: GiB that it writes.
    """

    stage: str
    what: str
    passes: float
    memory: float
    disk: float


@dataclass(frozen=True)
class Outlook:
    """A whole run before it begins.

    Attributes:
        experiment: of it.
        unet: what is searched.
        sized_by: the built-in UNet that has the configuration of its own, which is not here.
        latencies: by the experiment's tables.
        needs: that it reads.
        stages: in their order.
        tables: with a pass' time in ms on their devices, by name.
    """

    experiment: Experiment
    unet: ChosenUNet
    sized_by: str | None
    latencies: tuple[TableLatency, ...]
    needs: tuple[Need, ...]
    stages: tuple[StageWork, ...]
    tables: dict[str, float]

    def hours(self, table: str) -> float:
        """Of all UNet passes, on one device of a table."""
        return sum(stage.passes for stage in self.stages) * self.tables[table] / 3.6e6

    def show(self, console: Console) -> None:
        """Everything, for people."""
        if self.sized_by is not None:
            name = self.experiment.model.pipeline
            console.print(f"{name}: sized by the built-in {self.sized_by}", soft_wrap=True)
        console.print(space_table(find_demands(self.experiment, self.latencies), self.latencies))
        console.print(self._needs_table())
        console.print(self._stages_table())
        console.print(self._hours_table())

    def _needs_table(self) -> Table:
        table = Table("field", "what", "", title="what it reads", box=box.SIMPLE)
        said = {True: "here", False: "not on this machine", None: "loaded when it begins"}
        for need in self.needs:
            table.add_row(need.field, need.name, said[need.here])
        return table

    def _stages_table(self) -> Table:
        table = Table("stage", "what", "UNet passes", "memory", "disk", box=box.SIMPLE)
        table.title = "what it does"
        table.caption = "passes: of a guided picture, at most; memory and disk in GiB, of the UNet"
        for stage in self.stages:
            table.add_row(
                stage.stage,
                stage.what,
                f"{stage.passes:,.0f}",
                f"{stage.memory:.2f}",
                f"{stage.disk:.2f}",
            )
        return table

    def _hours_table(self) -> Table:
        table = Table("device, by its table", "ms a pass", "hours", box=box.SIMPLE)
        table.title = "how long its UNet passes take on one device"
        for name, ms in self.tables.items():
            table.add_row(name, f"{ms:,.1f}", f"{self.hours(name):,.2f}")
        return table


def look_ahead(experiment: Experiment, pass_ms: float | None = None) -> Outlook:
    """Resolve a whole run and size it; writes nothing.

    Args:
        experiment: of the run.
        pass_ms: of the UNet with a guided picture on the device that will work, where no table
            tells it.

    Raises:
        ValueError: if its UNet cannot be sized, a table lacks rows of it, or its limits cannot be
            met.
    """
    unet, sized_by = _unet(experiment.model.pipeline)
    tables = [load_table(name, unet=unet.arguments) for name in experiment.latency.tables]
    latencies = tuple(TableLatency(unet.inventory, table) for table in tables)
    full = unet.inventory.full()
    covering = {
        name: TableLatency(unet.inventory, table)(full)
        for name, table in known_tables(unet=unet.arguments).items()
        if isinstance(table, LatencyTable) and table.covers(unet.inventory.all_signatures())
    }
    if pass_ms is not None:
        covering["as given"] = pass_ms
    return Outlook(
        experiment,
        unet,
        sized_by,
        latencies,
        tuple(_needs(experiment)),
        tuple(_Sizing(experiment, unet, latencies).stages()),
        covering,
    )


def _unet(name: str) -> tuple[ChosenUNet, str | None]:
    """The pipeline's UNet, and the built-in one that stands in for it, if any."""
    stand_in = None if Path(name).exists() else _BUILT_IN.get(name)
    return choose_unet(stand_in or name), stand_in


def _needs(experiment: Experiment) -> Iterator[Need]:
    model, evaluation = experiment.model, experiment.evaluation
    if "base" not in experiment.whole.stages:
        yield _need("model.pipeline", model.pipeline)
    if model.supernet is not None:
        yield _need("model.supernet", model.supernet)
    yield _need("evaluation.prompts", evaluation.prompts.source)
    yield _need("comparison.prompts", experiment.comparison.prompts.source)
    for field, judge in (("scorer", evaluation.scorer), ("second", evaluation.second)):
        if judge is not None:
            yield _judge(f"evaluation.{field}", judge)
    if experiment.comparison.reference is not None:
        yield _need("comparison.reference", experiment.comparison.reference)
    stages = experiment.whole.stages
    data = {"supernet": experiment.supernet, "search": experiment.training}
    for field, section in {**data, "steps": experiment.steps}.items():
        if field in stages:
            yield _need(f"{'training' if field == 'search' else field}.data", section.data)
    if "decoder" in stages:
        yield _need("decoder.pairs.prompts", experiment.decoder.pairs.prompts.source)


def _need(field: str, name: str) -> Need:
    remote = "://" in name or "{" in name or name in _BUILT_IN
    return Need(field, name, None if remote else name == SHAPES or Path(name).exists())


def _judge(field: str, judge: ScorerSettings) -> Need:
    name = getattr(judge, "name", None)
    return Need(field, judge.title if name is None else str(name), name == SHAPES or None)


@dataclass(frozen=True)
class _Sizing:
    """Counts what stages do."""

    experiment: Experiment
    unet: ChosenUNet
    latencies: tuple[TableLatency, ...]

    @property
    def _parameters(self) -> int:
        return self.unet.inventory.parameters(self.unet.inventory.full())

    def stages(self) -> Iterator[StageWork]:
        whole = self.experiment.whole
        if "base" in whole.stages:
            yield self._base()
        if "supernet" in whole.stages:
            training = self.experiment.supernet.training
            passes = _training_passes(training)
            yield self._trained("supernet", training, passes, saved=1)
        if "search" in whole.stages:
            yield self._search()
        if "decoder" in whole.stages:
            yield self._decoder()
        if "steps" in whole.stages:
            yield from self._steps()
        yield self._comparison()

    def _base(self) -> StageWork:
        """Its UNet's training as others; of the models beside it, which are small, the steps."""
        base = self.experiment.base
        work = self._trained("base", base.unet, _training_passes(base.unet), saved=1)
        others = base.vae_steps + base.decoder_steps + base.judge_steps + base.text_steps
        return replace(work, what=f"{work.what}; {others:,} of the models beside the UNet")

    def _trained(
        self, stage: str, training: OptimizationSettings, passes: float, saved: int
    ) -> StageWork:
        """A training whose result is saved so many times; its state counts once."""
        moments = 2 if training.optimizer == "adamw" else 0
        copies = 2 + moments + (training.ema_decay > 0)  # weights and gradients
        size = self._parameters * _FP32 / _GIB
        what = f"{training.steps:,} training steps of {training.batch_size}"
        return StageWork(stage, what, passes, copies * size, (saved + copies - 1) * size)

    def _drawing_memory(self, precision: str, batch_size: int) -> float:
        width = _FP32 if precision == "fp32" else 2
        activations = PeakActivations(self.unet.inventory)(self.unet.inventory.full())
        return width * (self._parameters + activations * batch_size) / _GIB

    def _search(self) -> StageWork:
        experiment = self.experiment
        section, training = experiment.evaluation, experiment.training
        rounds = rehearse(experiment, find_demands(experiment, self.latencies))
        pictures = sum(work.pictures for work in rounds)
        sampling = section.sampling.start()
        trainings = [training.round] * (len(rounds) + 1) + [training.final]
        steps = sum(each.steps for each in trainings)
        compared = experiment.comparison
        passes = pictures * sampling.num_inference_steps + sum(map(_training_passes, trainings))
        passes += 2 * compared.prompts.count * compared.sampling.num_inference_steps
        what = f"{len(rounds)} rounds, {pictures:,} pictures, {steps:,} training steps"
        largest = max(trainings, key=lambda each: each.steps)
        trained = self._trained("search", largest, passes, saved=len(rounds) + 2)
        drawn = self._drawing_memory(sampling.precision, sampling.batch_size)
        return StageWork("search", what, passes, max(drawn, trained.memory), trained.disk)

    def _decoder(self) -> StageWork:
        section = self.experiment.decoder
        pairs, sampling = section.pairs, section.pairs.sampling.start()
        count = pairs.count
        if pairs.stream:
            count = section.training.steps * section.training.batch_size
        overhead = self.unet.inventory.overhead
        latents = overhead.height * overhead.width * 4
        picture = latents // 4 * 64 * 3  # eight times as many pixels either way, one byte each
        disk = 0.0 if pairs.stream else count * (latents * _FP32 + picture) / _GIB
        what = f"{count:,} pairs, {section.training.steps:,} training steps of the decoder"
        memory = self._drawing_memory(sampling.precision, sampling.batch_size)
        return StageWork("decoder", what, count * sampling.num_inference_steps, memory, disk)

    def _steps(self) -> Iterator[StageWork]:
        for stage in self.experiment.steps.stages:
            training = stage.training
            share, teaching, learning = 0.0, 0, 1
            if isinstance(stage, DistillationStage):
                # Two teacher passes and one of the student; twice as many under guidance.
                share, teaching, learning = stage.training.guided_share, 2, 2
            pictures = training.steps * training.batch_size / GUIDED_BATCH
            each = (teaching + 1 + _BACKWARD) * (1 + share) + (learning - 1) * (1 + _BACKWARD)
            yield self._trained(f"steps: {stage.name}", training, pictures * each, saved=1)
        comparison = self.experiment.comparison
        count, sampling = comparison.prompts.count, comparison.sampling.start()
        drawings = list(drawings_of(self.experiment.steps, sampling))
        yield StageWork(
            "steps: comparison",
            f"{len(drawings)} times {count:,} pictures",
            count * sum(each.steps for each in drawings),
            self._drawing_memory(sampling.precision, sampling.batch_size),
            0,
        )

    def _comparison(self) -> StageWork:
        comparison, whole = self.experiment.comparison, self.experiment.whole
        count, sampling = comparison.prompts.count, comparison.sampling.start()
        steps = whole.base_steps
        last = self.experiment.steps.stages[-1:] if "steps" in whole.stages else ()
        for stage in last:
            if isinstance(stage, DistillationStage):
                steps += stage.training.student_steps
        memory = self._drawing_memory(sampling.precision, sampling.batch_size)
        return StageWork(
            "comparison", f"{count:,} pictures of base and final pipeline", count * steps, memory, 0
        )


def _training_passes(training: OptimizationSettings) -> float:
    """Of a guided picture, as much work as all steps of a training."""
    teacher = isinstance(training, TrainingSettings) and training.distillation > 0
    return training.steps * ceil(training.batch_size / GUIDED_BATCH) * (1 + _BACKWARD + teacher)
