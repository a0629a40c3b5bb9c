"""The conditioning text encoder computes what the CLIP it was taken from computes."""

from __future__ import annotations

from pathlib import Path

import open_clip
import torch

from experiments.shapes.clip import train_clip
from experiments.shapes.dataset import draw
from experiments.shapes.diffusion import tokenize
from experiments.shapes.text_encoder import text_encoder_of
from experiments.shapes.tokenizer import load_tokenizer

CAPTIONS = ["a small red circle on a white background", "a large blue star on a gray background"]


def test_hidden_states_are_those_of_open_clip(tmp_path: Path) -> None:
    pictures = draw("train", 64, seed=0)
    train_clip(
        tmp_path, pictures, steps=4, batch_size=4, seed=0, on_progress=lambda done, figures: None
    )
    tokenizer = load_tokenizer(tmp_path)
    encoder = text_encoder_of(tmp_path, tokenizer)
    clip = open_clip.create_model(f"local-dir:{tmp_path}").eval()
    input_ids = tokenize(tokenizer, CAPTIONS)
    assert torch.equal(input_ids, open_clip.get_tokenizer(f"local-dir:{tmp_path}")(CAPTIONS))
    with torch.no_grad():
        hidden = encoder(input_ids).last_hidden_state
        theirs = clip.token_embedding(input_ids) + clip.positional_embedding
        theirs = clip.ln_final(clip.transformer(theirs, attn_mask=clip.attn_mask))
    assert hidden.shape == (2, 24, 96)
    assert torch.allclose(hidden, theirs, atol=1e-5)
