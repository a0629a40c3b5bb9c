"""What a step trains on: latents beside the hidden states of their captions, or of no caption."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from experiments.shapes.diffusion import caption_batches
from experiments.shapes.tokenizer import build_tokenizer, tokenize

COLORS = ("red", "green", "blue", "black")
TOKENIZER = build_tokenizer(seed=0)


def token_ids(input_ids: Tensor) -> SimpleNamespace:
    """In the place of a text encoder: the tokens themselves tell what was asked."""
    return SimpleNamespace(last_hidden_state=input_ids)


@pytest.mark.parametrize("dropout", [0.0, 0.1, 0.4])
def test_captions_stay_with_their_latents_or_are_dropped(dropout: float) -> None:
    latents = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 4, 2, 2)
    batches = caption_batches(latents, COLORS, TOKENIZER, token_ids, 50, 3, dropout)
    own, [empty] = tokenize(TOKENIZER, COLORS), tokenize(TOKENIZER, [""])
    dropped = 0
    for step in range(40):
        batch = batches(step, range(50))
        for latent, tokens in zip(batch.latents, batch.encoder_hidden_states, strict=True):
            if torch.equal(tokens, empty):
                dropped += 1
            else:
                assert torch.equal(tokens, own[int(latent[0, 0, 0])])
    assert dropped / (40 * 50) == pytest.approx(dropout, abs=0.04)
    again = caption_batches(latents, COLORS, TOKENIZER, token_ids, 50, 3, dropout)(7, range(50))
    whole = batches(7, range(50))
    assert torch.equal(again.encoder_hidden_states, whole.encoder_hidden_states)
    half = batches(7, range(1, 50, 2))
    assert torch.equal(half.latents, whole.latents[1::2])
    assert torch.equal(half.encoder_hidden_states, whole.encoder_hidden_states[1::2])
