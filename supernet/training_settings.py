"""How something is trained, a supernet above all, as a value."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from supernet.block_dropping import BlockDropping
from supernet.precision import PrecisionChoice

if TYPE_CHECKING:
    from typing_extensions import Self


class OptimizationSettings(BaseModel):
    """What all trainings have in common.

    Attributes:
        batch_size: pictures of a step, all workers and parts together.
        optimizer: ``adafactor`` (arXiv 1804.04235) takes less memory than ``adamw``: it keeps no
            first moments, and of a matrix's second moments one row and one column.
        learning_rate: of Adafactor the bound of its relative step size.
        adam_beta2: AdamW's second beta. Its mean of squared gradients remembers about
            1 / (1 - adam_beta2) steps: the usual 0.999 is long for a training of a few hundred.
        ema_decay: of the average of the weights that a training ends with; 0 keeps none.
        precision: of the forward pass; ``bf16`` and ``fp16`` are autocast, ``fp16`` with scaled
            gradients. ``auto`` is what the device that trains is fast in, ``bf16`` or else
            ``fp32``: see :func:`supernet.precision.settled_precision`.
        gradient_checkpointing: compute activations again in the backward pass: less memory, more
            time, the same gradients.
        accumulation: parts that a step's batch is cut into, one after the other.
        checkpoint_every: steps.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(ge=0)
    batch_size: int = Field(64, ge=1)
    optimizer: Literal["adamw", "adafactor"] = "adamw"
    learning_rate: float = Field(1e-3, gt=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_steps: int = Field(50, ge=0)
    adam_beta2: float = Field(0.999, gt=0, lt=1)
    weight_decay: float = Field(0.01, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    ema_decay: float = Field(0.999, ge=0, lt=1)
    precision: PrecisionChoice = "auto"
    gradient_checkpointing: bool = False
    accumulation: int = Field(1, ge=1)
    checkpoint_every: int = Field(200, ge=1)

    @model_validator(mode="after")
    def _parts_are_equal(self) -> Self:
        if self.batch_size % self.accumulation:
            raise ValueError(
                f"a batch_size of {self.batch_size} has no {self.accumulation} equal parts: "
                "make it a multiple of accumulation"
            )
        return self

    def rate(self, step: int) -> float:
        """Learning rate of a step, the first of which is 0.

        Linear warm-up, then constant or a half cosine down to zero at the last step.
        """
        warm = min(1.0, (step + 1) / max(self.warmup_steps, 1))
        if self.schedule == "constant":
            return self.learning_rate * warm
        phase = math.pi * step / max(self.steps, 1)
        return self.learning_rate * (warm * 0.5 * (1 + math.cos(phase)))


class TrainingSettings(OptimizationSettings):
    """How a supernet is trained.

    Attributes:
        dropping: which blocks a step drops.
        snr_gamma: see :func:`supernet.loss.add_noise`.
        distillation: the share of the target that a teacher, the base UNet, gives in place of the
            data, in [0, 1]; 0, the paper's way, needs no teacher.
        feature_distillation: weight of the distance between the stage outputs of UNet and
            teacher (BK-SDM, arXiv 2305.15798, Sec. 4.2, where it is 1); 0 leaves it out.
    """

    dropping: BlockDropping = BlockDropping()
    snr_gamma: float | None = Field(None, gt=0)
    distillation: float = Field(0.0, ge=0, le=1)
    feature_distillation: float = Field(0.0, ge=0)
