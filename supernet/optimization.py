"""What all trainings have in common: the optimizer, its schedule, the average of the weights, and
a state on disk that an interrupted training goes on from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from supernet.checkpoint import (
    CheckpointError,
    TrainingState,
    load_training_state,
    save_training_state,
)
from supernet.distributed import Workers
from supernet.training_settings import OptimizationSettings


class Optimization:
    """The weights of a training on their way.

    Where ``torch.distributed`` is initialized, its processes share every step: all of them begin
    with the weights of the first, and move them by the mean of their gradients.

    Args:
        parameters: what is trained, by name; on one device.
        settings: of the training.
        what: what else tells this training from others, for its state on disk.

    Attributes:
        workers: the processes that share the training.
        parts: this one's rows of every part of a batch.

    Raises:
        ValueError: if workers cannot share a batch equally.
    """

    def __init__(
        self, parameters: Mapping[str, nn.Parameter], settings: OptimizationSettings, what: str
    ) -> None:
        self.settings = settings
        self.workers = Workers.here()
        self.parts = parts_of_batch(settings, self.workers)
        self.parameters = list(parameters.values())
        self.workers.equal_weights(self.parameters)
        self.device = self.parameters[0].device
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=settings.precision == "fp16")
        self.ema = EMAModel(self.parameters, settings.ema_decay) if settings.ema_decay else None
        optimizer = _optimizer(self.parameters, settings)
        self._state = TrainingState(parameters, optimizer, self.scaler, self.ema)
        text = f"{settings.model_dump_json()} {what}"
        self._digest = hashlib.sha256(text.encode()).hexdigest()[:12]

    def begin(
        self,
        checkpoint: Path | None,
        continue_from: Path | None = None,
        complete: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = dict,
    ) -> int:
        """Load what there is to go on from; returns the number of steps done.

        Args:
            checkpoint: of this training, if it is there.
            continue_from: the state of an earlier one, gone on with where there is no checkpoint.
            complete: see :func:`supernet.checkpoint.load_training_state`.

        Raises:
            CheckpointError: if one is damaged, of another training, or not seen by all workers.
        """
        done = 0
        if checkpoint is not None and checkpoint.exists():
            done = load_training_state(checkpoint, self._state, self._digest)
        elif continue_from is not None:
            load_training_state(continue_from, self._state, complete=complete)
        if not self.workers.agree(done, self.device):
            raise CheckpointError(
                f"{checkpoint}: only some workers see it; put it where all of them can read it"
            )
        return done

    def run(
        self,
        gradients: Callable[[int], Tensor],
        done: int,
        checkpoint: Path | None,
        on_progress: Callable[[int, dict[str, float]], None] | None,
    ) -> None:
        """Do the steps that are left; the weights end as their average, if one is kept.

        Args:
            gradients: works out those of a step over this worker's rows, scaled by
                :attr:`scaler`; returns their mean loss.
            done: steps that were done before.
            checkpoint: to save to now and then, and at the end.
            on_progress: called after each step with the number of steps done and the loss.
        """
        while done < self.settings.steps:
            loss = self._step(done, gradients)
            done += 1
            is_last = done == self.settings.steps
            if checkpoint is not None and (is_last or done % self.settings.checkpoint_every == 0):
                self._save(checkpoint, done)
            if on_progress is not None:
                on_progress(done, {"loss": loss.item()})
        if self.ema is not None:
            self.ema.copy_to(self.parameters)

    def _step(self, step: int, gradients: Callable[[int], Tensor]) -> Tensor:
        self._state.optimizer.zero_grad(set_to_none=True)
        loss = gradients(step)
        self.workers.average_gradients(self.parameters)
        self._update(step)
        return self.workers.mean(loss)

    def _update(self, step: int) -> None:
        """Let the optimizer and the average take the gradients that are there."""
        optimizer = self._state.optimizer
        self.scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(self.parameters, self.settings.max_grad_norm)
        for group in optimizer.param_groups:
            group["lr"] = self.settings.rate(step)
        self.scaler.step(optimizer)
        self.scaler.update()
        if self.ema is not None:
            self.ema.step(self.parameters)

    def _save(self, checkpoint: Path, done: int) -> None:
        if self.workers.rank == 0:
            save_training_state(checkpoint, self._state, done, self._digest)
        self.workers.wait()


def parts_of_batch(settings: OptimizationSettings, workers: Workers) -> list[range]:
    """A worker's rows of every part of a batch.

    Raises:
        ValueError: if the workers cannot share the parts equally.
    """
    if settings.batch_size % (settings.accumulation * workers.count):
        raise ValueError(
            f"a batch_size of {settings.batch_size} cannot be shared by {workers.count} workers "
            f"in {settings.accumulation} parts each; make it a multiple of "
            f"{settings.accumulation * workers.count}"
        )
    size = settings.batch_size // settings.accumulation
    starts = range(0, settings.batch_size, size)
    return [workers.share(range(start, start + size)) for start in starts]


def _optimizer(
    parameters: Sequence[nn.Parameter], settings: OptimizationSettings
) -> torch.optim.Optimizer:
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "adafactor":
        # One weight after the other: all at once takes as much memory again as the weights.
        return torch.optim.Adafactor(parameters, lr=rate, weight_decay=decay, foreach=False)
    betas = (0.9, settings.adam_beta2)
    return torch.optim.AdamW(parameters, lr=rate, betas=betas, weight_decay=decay, fused=True)
