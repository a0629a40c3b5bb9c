"""Training a smaller decoder to make its teacher's pictures (SnapFusion, Sec. 3.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from distillation.decoders import decoder_of
from distillation.efficient_autoencoder import EfficientAutoencoderKL
from distillation.pairs import PairBatches, decode
from distillation.picture_loss import LossSettings
from supernet.optimization import Optimization
from supernet.training_context import autocast
from supernet.training_settings import OptimizationSettings


class DecoderTraining(OptimizationSettings):
    """How a decoder is trained.

    Attributes:
        loss: what is minimised.
    """

    loss: LossSettings = LossSettings()


def train_decoder(
    student: EfficientAutoencoderKL,
    pairs: PairBatches,
    settings: DecoderTraining,
    seed: int,
    *,
    checkpoint: Path | None = None,
    continue_from: Path | None = None,
    on_progress: Callable[[int, dict[str, float]], None] | None = None,
) -> None:
    """Train the decoder of an autoencoder in place; it ends with the averaged weights.

    Where ``torch.distributed`` is initialized, its processes share every batch: all call this
    alike, and all end with the weights that one process would have, up to rounding.

    Args:
        student: its decoder, and the convolution before it, are trained; its encoder is not.
        pairs: the data, by step.
        settings: all else.
        seed: of the pairs' order; tells this training from others.
        checkpoint: file to save to now and then and to resume from if it is there. A finished
            training leaves it behind, so that calling again does nothing.
        continue_from: the checkpoint that an earlier training of the same decoder left, gone on
            with where there is no ``checkpoint``.
        on_progress: called after each step with the number of steps done and the loss.

    Raises:
        CheckpointError: if the checkpoint is damaged or of another training.
        ValueError: if workers cannot share a batch equally, or the loss cannot be opened.
    """
    parameters = decoder_parameters(student)
    what = f"{seed} {decoder_of(student).id}"
    optimization = Optimization(parameters, settings, what)
    distance = settings.loss.open(optimization.device)

    def gradients(step: int) -> Tensor:
        total = torch.zeros((), device=optimization.device)
        for rows in optimization.parts:
            batch = pairs(step, rows).to(optimization.device)
            with autocast(settings.precision, optimization.device):
                decoded = decode(student, batch.latents)
            loss = distance(decoded.float(), batch.pictures) / len(optimization.parts)
            optimization.scaler.scale(loss).backward()
            total += loss.detach()
        return total

    done = optimization.begin(checkpoint, continue_from)
    with _training(student, parameters.values(), settings):
        optimization.run(gradients, done, checkpoint, on_progress)


def decoder_parameters(student: EfficientAutoencoderKL) -> dict[str, nn.Parameter]:
    """What a training changes, by name: all weights between latents and picture."""
    ours = ("decoder.", "post_quant_conv.")
    return {name: weight for name, weight in student.named_parameters() if name.startswith(ours)}


@contextmanager
def _training(
    student: EfficientAutoencoderKL, weights: Iterable[nn.Parameter], settings: DecoderTraining
) -> Iterator[None]:
    """The autoencoder with a decoder that learns; frozen and in evaluation mode on leaving."""
    student.train()
    for weight in weights:
        weight.requires_grad_(True)
    if settings.gradient_checkpointing:
        student.enable_gradient_checkpointing()
    try:
        yield
    finally:
        if settings.gradient_checkpointing:
            student.disable_gradient_checkpointing()
        student.eval().requires_grad_(False)
