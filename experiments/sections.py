"""The sections of an experiment file, each with its fields and what they must be."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from evaluators.generation import SamplingChoice
from evaluators.placement import Placement
from evaluators.scorers import ClipModel, ScorerSettings
from experiments.data.settings import DataSettings
from experiments.partial import filled_in
from experiments.scaling import ScalingSettings
from search.budget import Budget
from search.settings import EvolutionOptions, RacingSettings
from supernet.architecture import Granularity
from supernet.block_dropping import BlockDropping
from supernet.training_settings import TrainingSettings

MAX_SEED = 2**32 - 1  # leaves room for what is derived from it below torch's 64 bits


class Section(BaseModel):
    """What all sections have in common."""

    # TOML knows no None, so a field may be None only by default: then leaving it out means it.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModelSection(Section):
    """What is searched.

    Attributes:
        pipeline: a Stable Diffusion folder or Hugging Face id, or ``shapes``.
        supernet: robustly trained weights of its UNet: a ``.safetensors`` file, ``shapes``, or
            None to begin with the pipeline's own.
    """

    pipeline: str = "shapes"
    supernet: str | None = None


class LatencySection(Section):
    """Latency tables, by name or path, and the target on the first of them.

    Attributes:
        tables: the first is the objective; all are reported.
        target_ms: latency to reach, in ms of one UNet pass; or
        target_ratio: the same as a share of the base UNet's latency.
    """

    tables: tuple[str, ...] = Field(min_length=1)
    target_ms: float | None = Field(None, gt=0)
    target_ratio: float | None = Field(None, gt=0, le=1)

    @model_validator(mode="after")
    def _one_target(self) -> LatencySection:
        if (self.target_ms is None) == (self.target_ratio is None):
            raise ValueError(
                "give one of target_ms and target_ratio, and only one "
                "('--set latency.target_ratio=' takes one away)"
            )
        return self

    def target(self, base_ms: float) -> float:
        """The target in ms."""
        return self.target_ms if self.target_ms is not None else base_ms * (self.target_ratio or 1)


class LimitsSection(Section):
    """What the found UNet must not exceed, besides the target on the first table.

    Attributes:
        latency_ms: on further tables of ``latency.tables``, by name or path as given there.
        parameters: of the UNet.
        macs: multiply-accumulates of one pass at the inventory's batch.
        activations: values that such a pass holds at once, besides weights: times 2 bytes in fp16.
    """

    latency_ms: dict[str, float] = {}
    parameters: float | None = Field(None, gt=0)
    macs: float | None = Field(None, gt=0)
    activations: float | None = Field(None, gt=0)

    @field_validator("latency_ms")
    @classmethod
    def _positive(cls, value: dict[str, float]) -> dict[str, float]:
        for table, most in value.items():
            if most <= 0:
                raise ValueError(f"{table} = {most:g}: give a positive number of ms")
        return value


class PromptsSection(Section):
    """Which prompts, how many, and the seed of their noise.

    Attributes:
        source: ``shapes`` (held-out captions of the world) or a file: MS-COCO's captions (.json),
            a table with a column of prompts (.tsv, .csv), or text, one prompt a line.
        skip: how many prompts of a file to pass over first.
        count: how many of them.
        seed: of their starting noise (and of the choice, in the shapes world).
    """

    source: str = "shapes"
    skip: int = Field(0, ge=0)
    count: int = Field(32, ge=2)
    seed: int = Field(0, ge=0, le=MAX_SEED)


class ComparisonPromptsSection(PromptsSection):
    """The same with more of them, and other noise."""

    count: int = Field(128, ge=2)
    seed: int = Field(1, ge=0, le=MAX_SEED)


class EvaluationSection(Section):
    """How architectures are judged: on validation prompts while searching.

    Attributes:
        scorer: what the search goes by.
        second: another judge, whose scores stand beside the first one's.
        store: where scores are kept and looked up: a file, or a URL of a database
            (``postgresql://...``), that searches share; ``evaluations.db`` of the run by default.
    """

    prompts: PromptsSection = PromptsSection()
    sampling: SamplingChoice = SamplingChoice()
    scorer: ScorerSettings = ClipModel(name="shapes")
    second: ScorerSettings | None = None
    store: str | None = None


class SearchSection(Section, EvolutionOptions):
    """How the search goes: all of :class:`search.settings.EvolutionOptions`, and its frame.

    Attributes:
        granularity: whether actions are about cross-attention blocks as a whole, or about each of
            their transformer layers (SDXL's have up to 10).
        max_rounds, max_pictures, max_hours: see :class:`search.budget.Budget`.
        racing, racing_level, racing_prompts: see :class:`search.settings.RacingSettings`.
        strategy: how removals are chosen; see :mod:`search.strategies`.
        paper: whether evolution does as published: every removal scored once in a round, ranked as
            measured, and the best executed. Takes the place of caution, negligible_loss, recheck
            and refine.
        pareto: whether the search goes on past its target and leaves the whole front of CLIP score
            and latency in ``front.json``, of which ``evounet export --point`` takes any.
    """

    strategy: Literal["evolution", "random", "one_shot", "nsga2", "tpe", "knapsack"] = "evolution"
    paper: bool = False
    pareto: bool = False
    granularity: Granularity = "block"
    max_rounds: int | None = Field(None, ge=1)
    max_pictures: int | None = Field(None, ge=1)
    max_hours: float | None = Field(None, gt=0)
    racing: bool = True
    racing_level: float = Field(0.05, gt=0, lt=1)
    racing_prompts: int = Field(32, ge=8)

    @model_validator(mode="after")
    def _of_rounds(self) -> SearchSection:
        for name in ("actions", "round_loss"):
            if getattr(self, name) is not None and self.strategy not in ("evolution", "one_shot"):
                raise ValueError(
                    f"'{self.strategy}' goes all of a round's way at once: omit {name}, or set "
                    "strategy = 'evolution'"
                )
        return self

    @model_validator(mode="after")
    def _of_the_paper(self) -> SearchSection:
        if self.paper and self.strategy != "evolution":
            raise ValueError(
                f"paper = true is for strategy = 'evolution', not '{self.strategy}'; omit either"
            )
        return self

    @property
    def budget(self) -> Budget:
        return Budget(
            max_rounds=self.max_rounds, max_pictures=self.max_pictures, max_hours=self.max_hours
        )

    @property
    def race(self) -> RacingSettings:
        return RacingSettings(
            racing=self.racing, level=self.racing_level, first_prompts=self.racing_prompts
        )


class TrainingSection(Section, DataSettings, ScalingSettings):
    """Robust training between decisions, and the longer one after the last.

    Attributes:
        round: settings of each round's training.
        final: settings of the training of the architecture found.
    """

    round: TrainingSettings = TrainingSettings(steps=0)
    final: TrainingSettings = TrainingSettings(steps=0)


class WorkersSection(Section):
    """The Ray evaluators.

    Attributes:
        count: how many are wanted; as many as this machine's cores, or the cluster, allow by
            default. A cluster that grows later gets them later.
        min_count: how many the cluster must have room for at the beginning; ``count`` by default.
        threads: CPU threads of each.
        gpus: GPUs of each, or its share of one: four evaluators of 0.25 live on one GPU.
        resources: amounts that each takes of the cluster's own resources, by name.
        address: of a Ray cluster; ``RAY_ADDRESS`` or a local Ray by default.
    """

    count: int | None = Field(None, ge=1)
    min_count: int | None = Field(None, ge=1)
    threads: int = Field(1, ge=1)
    gpus: float = Field(0.0, ge=0)
    resources: dict[str, float] = {}
    address: str | None = None

    @model_validator(mode="after")
    def _possible(self) -> WorkersSection:
        if self.min_count is not None and self.min_count > (self.count or self.min_count):
            raise ValueError(f"min_count {self.min_count} is more than count {self.count}")
        if self.gpus > 1 and self.gpus % 1:
            raise ValueError(f"gpus {self.gpus:g}: give a share of one GPU, or a whole number")
        for name, amount in self.resources.items():
            if name in ("CPU", "GPU", "memory") or amount <= 0:
                raise ValueError(
                    f"resources.{name} = {amount:g}: give a positive amount of a resource of the "
                    "cluster's own; CPUs are 'threads' and GPUs 'gpus'"
                )
        return self

    @property
    def placement(self) -> Placement:
        """What each takes of its node."""
        return Placement(self.threads, self.gpus, self.resources)


class ComparisonSection(Section):
    """The last comparison of base and found UNet, on prompts that the search never used.

    Attributes:
        reference: folder of real pictures that FID and KID compare with; in the shapes world by
            default pictures of the same captions, elsewhere none.
        features: what FID and KID see of a picture: the first scorer's embedding, or what
            Inception v3 makes of it, as in published figures.
    """

    prompts: ComparisonPromptsSection = ComparisonPromptsSection()
    sampling: SamplingChoice = SamplingChoice()
    repetitions: int = Field(30, ge=3)
    reference: str | None = None
    features: Literal["judge", "inception"] = "judge"

    @model_validator(mode="after")
    def _something_to_compare_with(self) -> ComparisonSection:
        if self.features == "inception" and not self.reference and self.prompts.source != "shapes":
            raise ValueError(
                "features = 'inception' needs real pictures to compare with; name a folder of them "
                "as reference"
            )
        return self


_ROBUST = TrainingSettings(
    steps=4000,
    batch_size=32,
    learning_rate=6e-4,
    warmup_steps=50,
    ema_decay=0.998,
    dropping=BlockDropping(keep_prob=(0.4, 1.0), per="batch"),
)


class SupernetTraining(DataSettings, ScalingSettings):
    """How a supernet is made of a base UNet; the defaults made the shipped one.

    Attributes:
        granularity: what is dropped: cross-attention blocks, or each of their transformer layers.
        training: the robust training.
    """

    pictures: int = Field(32_768, ge=1024)
    granularity: Granularity = "block"
    training: Annotated[TrainingSettings, filled_in(_ROBUST)] = _ROBUST
