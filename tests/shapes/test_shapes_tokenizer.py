"""The world's tokenizer: one token a word, and everything else spelt."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, CLIPTokenizer

from experiments.shapes.scene import (
    BACKGROUNDS,
    COLORS,
    RELATIONS,
    SHAPES,
    SIZES,
    sample_scenes,
)
from experiments.shapes.tokenizer import (
    CONTEXT_LENGTH,
    build_tokenizer,
    save_tokenizer,
    tokenize,
)

WORDS = {
    *(SHAPES + COLORS + SIZES + BACKGROUNDS),
    *" ".join(RELATIONS).split(),
    "a",
    "on",
    "background",
}
CAPTIONS = [scene.caption for scene in sample_scenes("test", 200, seed=1)]


@cache
def tokenizer(seed: int = 0) -> CLIPTokenizer:
    return build_tokenizer(seed)


@pytest.mark.parametrize("seed", [0, 1])
def test_every_word_of_the_world_is_one_token(seed: int) -> None:
    tokens = {word: tokenizer(seed).tokenize(word) for word in sorted(WORDS)}
    assert tokens == {word: [f"{word}</w>"] for word in WORDS}
    assert {word for caption in CAPTIONS for word in caption.split()} <= WORDS


def test_captions_survive_the_round_trip() -> None:
    for caption in CAPTIONS:
        ids = tokenizer()(caption).input_ids
        assert len(ids) == len(caption.split()) + 2  # start and end
        assert tokenizer().decode(ids, skip_special_tokens=True).strip() == caption


def test_the_end_of_a_text_is_its_highest_id() -> None:
    highest = len(tokenizer()) - 1
    assert tokenizer().eos_token_id == highest
    ids = tokenize(tokenizer(), [*CAPTIONS, ""])
    assert ids.shape == (len(CAPTIONS) + 1, CONTEXT_LENGTH)
    assert (ids[:, 0] == tokenizer().bos_token_id).all()
    lengths = torch.tensor([len(caption.split()) for caption in CAPTIONS] + [0])
    # As CLIP finds it; argmax gives the first of several.
    assert torch.equal(ids.argmax(dim=1), lengths + 1)


@pytest.mark.parametrize("word", ["zebra", "q", "café", "xylophones", "猫"])
def test_unknown_words_are_spelt(word: str) -> None:
    start, *inner, end = tokenizer()(word).input_ids
    assert (start, end) == (tokenizer().bos_token_id, tokenizer().eos_token_id)
    assert inner
    assert not {start, end, tokenizer().unk_token_id} & set(inner)
    assert tokenizer().decode(inner).strip() == word


def test_upper_case_makes_no_difference() -> None:
    caption = CAPTIONS[0]
    assert tokenizer()(caption.upper()).input_ids == tokenizer()(caption).input_ids


def test_too_long_texts_are_cut_and_still_end() -> None:
    (ids,) = tokenize(tokenizer(), ["red " * 100])
    assert len(ids) == CONTEXT_LENGTH
    assert ids[-1] == tokenizer().eos_token_id


def test_the_same_seed_learns_the_same_tokenizer() -> None:
    again = build_tokenizer(0)
    assert again.get_vocab() == tokenizer().get_vocab()
    assert again(CAPTIONS).input_ids == tokenizer()(CAPTIONS).input_ids


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    saved = save_tokenizer(tmp_path, seed=0)
    texts = [*CAPTIONS, "zebra café 猫", ""]
    for loader in (CLIPTokenizer, AutoTokenizer):  # as pipelines and as open_clip load it
        loaded = loader.from_pretrained(tmp_path)
        assert loaded.get_vocab() == saved.get_vocab()
        assert loaded.model_max_length == CONTEXT_LENGTH
        assert torch.equal(tokenize(loaded, texts), tokenize(saved, texts))
