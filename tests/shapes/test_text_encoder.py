"""The conditioning text encoder learns from latents what its captions say of them."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import CLIPTextModel

from experiments.shapes.scene import sample_scenes
from experiments.shapes.text_encoder import PictureHead, train_text_encoder
from experiments.shapes.tokenizer import CONTEXT_LENGTH, build_tokenizer, tokenize

CAPTIONS = [scene.caption for scene in sample_scenes("train", 64, seed=0)]


def _train(steps: int) -> tuple[CLIPTextModel, list[float]]:
    # Latents that the caption alone decides: one value for each background.
    values = [_value_of(caption) for caption in CAPTIONS]
    latents = torch.tensor(values)[:, None, None, None].expand(-1, 4, 16, 16).contiguous()
    losses: list[float] = []
    encoder = train_text_encoder(
        build_tokenizer(0),
        CAPTIONS,
        latents,
        steps=steps,
        batch_size=32,
        seed=3,
        on_progress=lambda done, figures: losses.append(figures["loss"]),
    )
    return encoder, losses


def _value_of(caption: str) -> float:
    return {"white": -1.5, "gray": -0.5, "black": 0.5, "brown": 1.5}[caption.split()[-2]]


def test_it_learns_what_the_caption_decides() -> None:
    _, losses = _train(60)
    assert len(losses) == 60
    assert losses[0] > 0.5
    assert losses[-1] < 0.1


def test_the_seed_fixes_it_and_it_comes_back_frozen() -> None:
    first, second = _train(3)[0], _train(3)[0]
    other = second.state_dict()
    assert all(torch.equal(value, other[name]) for name, value in first.state_dict().items())
    assert not any(parameter.requires_grad for parameter in first.parameters())
    assert not first.training


def test_hidden_states_survive_saving(tmp_path: Path) -> None:
    encoder, _ = _train(1)
    encoder.save_pretrained(tmp_path)
    input_ids = tokenize(build_tokenizer(0), CAPTIONS[:4])
    with torch.no_grad():
        hidden = encoder(input_ids).last_hidden_state
        loaded = CLIPTextModel.from_pretrained(tmp_path).eval()(input_ids).last_hidden_state
    assert hidden.shape == (4, CONTEXT_LENGTH, 96)
    assert torch.allclose(hidden, loaded, atol=1e-5)


def test_the_head_puts_every_patch_in_its_place() -> None:
    torch.manual_seed(0)
    head = PictureHead()
    with torch.no_grad():
        hidden = torch.randn(2, CONTEXT_LENGTH, 96)
        latents = head(hidden)
        head.places[9] += 1.0  # row 1, column 1 of 8x8
        head.layer.self_attn.out_proj.weight.zero_()  # each place by itself
        moved = head(hidden)
        head.places[9] -= 1.0
        still = head(hidden)
    assert latents.shape == (2, 4, 16, 16)
    changed = (moved != still).any(dim=(0, 1))
    assert changed[2:4, 2:4].all()
    assert changed.sum() == 4
