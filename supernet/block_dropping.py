"""Which blocks a step of robust training drops (SnapFusion, Sec. 3.1, Eq. 5).

The paper executes every block with some probability and leaves it the identity otherwise; it
publishes no probability. Nothing here runs a UNet: a step's architectures are a function of the
settings, the step and a generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from supernet.architecture import CROSS_ATTENTION, TRANSFORMER_LAYER, Architecture, BlockId


def _as_range(value: Any) -> Any:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return (value, value) if is_number else value


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    low, high = value
    if not 0 < low <= high <= 1:
        raise ValueError(
            "a keep probability is a number p or a range [low, high] with 0 < low <= high <= 1"
        )
    return value


KeepProb = Annotated[tuple[float, float], BeforeValidator(_as_range), AfterValidator(_ordered)]


class BlockDropping(BaseModel):
    """With which probability every block is kept, and by how many pictures at once.

    Each step draws one u uniformly from [0, 1) and keeps a block with probability
    low + (high - low) u: steps near the lower end prepare for small architectures, steps near the
    upper end keep the full one intact.

    Attributes:
        keep_prob: the range [low, high] within (0, 1], or one number; 1 is plain training.
        by: ranges for some blocks in place of ``keep_prob``. A key is a kind and a stage
            (``"cross_attention down.0"``), a stage (``"mid"``) or a kind (``"resnet"``); of those
            that fit a block the first in this order holds. Transformer layers follow the keys of
            ``cross_attention`` if no key names ``transformer_layer``.
        depth: ``linear`` as in stochastic depth (arXiv 1603.09382, Eq. 4): block l of the L that
            run, in forward order, is kept with 1 - l / L (1 - p).
        anneal_steps: over so many first steps the drop rate 1 - p rises linearly from 0.
        per: ``sample``: every picture draws an architecture of its own, with the step's u, and
            each block runs on the pictures that keep it. ``batch``: a step runs one architecture,
            which takes less time where kernels are small, and teaches less in as many steps.
        sandwich: with n >= 1, a step trains the largest architecture, the smallest (without every
            block that may be dropped) and n random ones on the same noisy batch, by the mean of
            their losses (the sandwich rule of arXiv 1903.05134); 0 trains one random architecture.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    keep_prob: KeepProb = (0.5, 1.0)
    by: dict[str, KeepProb] = Field(default_factory=dict)
    depth: Literal["constant", "linear"] = "constant"
    anneal_steps: int = Field(0, ge=0)
    per: Literal["batch", "sample"] = "sample"
    sandwich: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _sandwich_is_of_batches(self) -> BlockDropping:
        if self.sandwich and self.per == "sample":
            raise ValueError('sandwich trains whole batches: set per to "batch", or sandwich to 0')
        return self

    def check(self, architecture: Architecture) -> None:
        """See that every key of ``by`` means some block.

        Raises:
            ValueError: naming a key that means none, and those there are.
        """
        kinds = dict.fromkeys(block.kind for block in architecture)
        stages = dict.fromkeys(block.stage for block in architecture)
        pairs = dict.fromkeys(f"{block.kind} {block.stage}" for block in architecture)
        known = [*kinds, *stages, *pairs]
        for key in self.by:
            if key not in known:
                raise ValueError(
                    f"dropping.by: no block is of '{key}'; there are: {', '.join(known)}"
                )

    def range_of(self, block: BlockId) -> tuple[float, float]:
        """The range [low, high] of a block's keep probability, by the most specific key."""
        kind, stage = block.kind, block.stage
        if kind == TRANSFORMER_LAYER and not any(key.startswith(kind) for key in self.by):
            kind = CROSS_ATTENTION
        for key in (f"{kind} {stage}", stage, kind):
            if key in self.by:
                return self.by[key]
        return self.keep_prob


def keep_probabilities(
    architecture: Architecture, dropping: BlockDropping, step: int, u: float
) -> dict[BlockId, float]:
    """The keep probability of every block that runs, for the ``u`` that a step has drawn."""
    running = [block for block, count in architecture.blocks if count]
    annealed = min(1.0, step / dropping.anneal_steps) if dropping.anneal_steps else 1.0
    probabilities = {}
    for number, block in enumerate(running, start=1):
        low, high = dropping.range_of(block)
        keep = low + (high - low) * u
        rate = annealed * (number / len(running) if dropping.depth == "linear" else 1.0)
        # A rate of 1 is left out of the sum, which would round the probability.
        probabilities[block] = keep if rate == 1 else 1 - rate * (1 - keep)
    return probabilities


def sample_architecture(
    architecture: Architecture, dropping: BlockDropping, step: int, generator: torch.Generator
) -> Architecture:
    """A random sub-architecture (Eq. 5); blocks that ``architecture`` lacks stay away."""
    [sampled] = _sample(architecture, dropping, step, 1, generator)
    return sampled


def sample_passes(
    architecture: Architecture,
    dropping: BlockDropping,
    step: int,
    batch_size: int,
    generator: torch.Generator,
) -> list[Sequence[Architecture]]:
    """What a step trains: one or more passes, each with an architecture for every picture."""
    if dropping.per == "sample":
        return [_sample(architecture, dropping, step, batch_size, generator)]
    random = [
        sample_architecture(architecture, dropping, step, generator)
        for _ in range(max(dropping.sandwich, 1))
    ]
    if dropping.sandwich:
        random = [architecture, _smallest(architecture, dropping, step), *random]
    return [[each] * batch_size for each in random]


def _sample(
    architecture: Architecture,
    dropping: BlockDropping,
    step: int,
    count: int,
    generator: torch.Generator,
) -> list[Architecture]:
    u = torch.rand((), generator=generator).item()
    keep = keep_probabilities(architecture, dropping, step, u)
    if all(probability >= 1 for probability in keep.values()):
        return [architecture] * count
    # Blocks that are away draw too, so that the others do not depend on them.
    uniform = torch.rand(count, len(architecture.blocks), generator=generator)
    return [
        architecture.without(
            block
            for (block, _), drawn in zip(architecture.blocks, row, strict=True)
            if block in keep and drawn >= keep[block]
        )
        for row in uniform.tolist()
    ]


def _smallest(architecture: Architecture, dropping: BlockDropping, step: int) -> Architecture:
    keep = keep_probabilities(architecture, dropping, step, u=0.0)
    return architecture.without(block for block, probability in keep.items() if probability < 1)
