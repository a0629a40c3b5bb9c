"""What a training step is given: its share of a batch that depends on the step alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """What one step trains on.

    Attributes:
        latents: ``(batch, 4, h, w)``, times the VAE's scaling factor.
        encoder_hidden_states: ``(batch, tokens, width)``; some of them of the empty prompt, so
            that the UNet also learns the unconditional half of guidance.
        added_cond_kwargs: what SDXL's UNet takes besides: ``text_embeds`` ``(batch, width)`` and
            ``time_ids`` ``(batch, 6)``; None for UNets that take no more than a prompt.
    """

    latents: Tensor
    encoder_hidden_states: Tensor
    added_cond_kwargs: Mapping[str, Tensor] | None = None

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        added = self.added_cond_kwargs
        return Batch(
            self.latents.to(device),
            self.encoder_hidden_states.to(device),
            added and {name: value.to(device) for name, value in added.items()},
        )


class Batches(Protocol):
    """The data of a training.

    The batch of a step is a function of the step alone, however many workers share it and however
    often the training was interrupted.
    """

    def __call__(self, step: int, rows: range) -> Batch:
        """Rows ``rows`` of the batch of ``step``, of all ``batch_size`` that it has."""
        ...
