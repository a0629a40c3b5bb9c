"""Which steps a student takes, and the two of its teacher that each of them is to replace."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from diffusers import DDIMScheduler
from torch import Tensor

END = -1  # the timestep of clean latents, beyond the last one


@dataclass(frozen=True)
class StepSchedule:
    """Steps from ``start`` over ``middle`` to ``end``, each ``(steps,)``, noisiest first.

    A stock DDIM scheduler moves from a timestep by its whole number of training timesteps a step,
    whatever the next timestep of its list is; so do these, hence a student samples as it has
    learned. Steps that lead beyond timestep 0 lead to :data:`END`.
    """

    start: Tensor
    middle: Tensor
    end: Tensor

    @classmethod
    def of(cls, noise_scheduler: DDIMScheduler, steps: int) -> StepSchedule:
        """The schedule of a student that samples in so many steps.

        Args:
            noise_scheduler: its ``timestep_spacing`` decides where the steps begin.
            steps: of the student; the teacher takes twice as many.

        Raises:
            ValueError: if the teacher's steps would be shorter than one timestep.
        """
        total = noise_scheduler.config.num_train_timesteps
        if not 1 <= steps <= total // 2:
            raise ValueError(
                f"a student of {steps} steps has a teacher of {2 * steps}, but there are {total} "
                f"timesteps: give 1 to {total // 2}"
            )
        own = copy.deepcopy(noise_scheduler)  # whose timesteps may be set
        own.set_timesteps(steps)
        start = own.timesteps.long().cpu()
        middle, end = start - total // (2 * steps), start - total // steps
        return cls(start, middle.clamp(min=END), end.clamp(min=END))

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, which: Tensor) -> StepSchedule:
        """The steps of these numbers, one for each picture of a batch."""
        return StepSchedule(self.start[which], self.middle[which], self.end[which])

    def to(self, device: torch.device) -> StepSchedule:
        return StepSchedule(self.start.to(device), self.middle.to(device), self.end.to(device))
