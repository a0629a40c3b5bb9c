"""The section ``[decoder]`` of an experiment file."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag, model_validator

from distillation.decoder_training import DecoderTraining
from distillation.tiny_architecture import WIDTH
from evaluators.generation import SamplingChoice
from experiments.partial import filled_in
from experiments.scaling import ScalingSettings
from experiments.sections import MAX_SEED, Section


class PairPromptsSection(Section):
    """Prompts that pairs are drawn from, again and again if there are more pairs.

    Attributes:
        source: ``shapes`` (captions of the world) or a file, as for ``evaluation.prompts``.
        skip: how many prompts of a file to pass over first.
        count: how many of them; all of a file, 4096 of the world by default.
        seed: of noise and order (and of the captions, in the shapes world).
    """

    source: str = "shapes"
    skip: int = Field(0, ge=0)
    count: int | None = Field(None, ge=1)
    seed: int = Field(2, ge=0, le=MAX_SEED)


class PairsSection(Section):
    """The synthetic data: latents of random prompts, and the teacher's pictures of them.

    Attributes:
        prompts: which; random ones of them are drawn.
        count: pairs to make.
        sampling: how latents are drawn.
        shard_size: pairs of one file; what is lost at most when a run is killed.
        stream: make pairs while training goes on and store none: every one is used once, and
            there are as many as the training takes.
    """

    prompts: PairPromptsSection = PairPromptsSection()
    count: int = Field(4096, ge=1)
    sampling: SamplingChoice = SamplingChoice()
    shard_size: int = Field(256, ge=1)
    stream: bool = False


class SizesSection(Section):
    """One decoder that inherits from its teacher; what is left out is as in that.

    Attributes:
        ratio: share of the channels, of all stages or of each in forward order.
        resnets: at most so many in every stage.
        mid_resnets: at most so many in the middle part.
        attention: whether the middle part keeps its self-attention.
    """

    kind: Literal["inherited"] = "inherited"
    ratio: float | tuple[float, ...] = 0.5
    resnets: int | None = Field(None, ge=1)
    mid_resnets: int = Field(2, ge=0, le=2)
    attention: bool = True


class TinySizesSection(Section):
    """One tiny decoder, which shares nothing with its teacher.

    Attributes:
        width: channels of all stages; TAESD's by default.
        blocks: residual blocks of every stage in forward order; by default 3, and 1 in the last.
    """

    kind: Literal["tiny"] = "tiny"
    width: int = Field(WIDTH, ge=1)
    blocks: tuple[int, ...] | None = None


def _kind(value: Any) -> Any:
    given = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return given or "inherited"


Sizes: TypeAlias = Annotated[
    Annotated[SizesSection, Tag("inherited")] | Annotated[TinySizesSection, Tag("tiny")],
    Discriminator(
        _kind,
        custom_error_type="decoder_kind",
        custom_error_message="kinds of decoders are inherited (the default) and tiny",
    ),
]


class DecoderSearchSection(Section):
    """Which sizes are tried by short trainings; without candidates, ``decoder.sizes`` is taken.

    They are compared on ``evaluation.prompts``.

    Attributes:
        candidates: sizes to choose among.
        max_latency: share of the teacher's latency, by the first table, that one may take.
        max_parameters: likewise, of the teacher's parameters.
        steps: of the longest of the short trainings.
        reduction: successive halving keeps one of so many candidates at every rung (ASHA).
        first_rung: steps after which the worst are left.
        concurrent: candidates trained at a time. With more than one, which are left depends on
            which was faster.
    """

    candidates: tuple[Sizes, ...] = ()
    max_latency: float = Field(1.0, gt=0)
    max_parameters: float = Field(1.0, gt=0)
    steps: int = Field(400, ge=1)
    reduction: int = Field(2, ge=2)
    first_rung: int = Field(100, ge=1)
    concurrent: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _rungs(self) -> DecoderSearchSection:
        if self.first_rung > self.steps:
            raise ValueError(f"first_rung {self.first_rung} is more than steps {self.steps}")
        return self


_TRAINING = DecoderTraining(steps=4000, batch_size=16, warmup_steps=100, precision="fp32")


class DecoderSection(Section, ScalingSettings):
    """An efficient image decoder for the experiment's pipeline.

    Attributes:
        pairs: what it is trained on.
        sizes: of it, where they are not searched.
        search: of its sizes.
        training: the long one; the short ones of the search differ in their steps alone.
        start: run folder of a decoder of the same sizes, whose weights the training begins with.
        lpips: also measure LPIPS, by the features of this network.
    """

    pairs: PairsSection = PairsSection()
    sizes: Sizes = SizesSection()
    search: DecoderSearchSection = DecoderSearchSection()
    training: Annotated[DecoderTraining, filled_in(_TRAINING)] = _TRAINING
    start: str | None = None
    lpips: Literal["alex", "vgg", "squeeze"] | None = None

    @model_validator(mode="after")
    def _what_goes_together(self) -> DecoderSection:
        if self.pairs.stream and self.on_ray:
            raise ValueError(
                "pairs that are streamed are not shared among workers: set pairs.stream = false, "
                "or workers = 1 without GPUs"
            )
        if self.start is not None and self.search.candidates:
            raise ValueError("start has weights of one decoder: leave it or search.candidates out")
        if self.pairs.stream and self.search.candidates:
            raise ValueError(
                "candidates are compared on the same pairs: set pairs.stream = false, or leave "
                "search.candidates out"
            )
        return self
