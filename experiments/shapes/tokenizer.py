"""The CLIP tokenizer of the shapes world: byte-level BPE in which every word of it is one token."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from transformers import CLIPTokenizer

from experiments.shapes.scene import sample_scenes

CONTEXT_LENGTH = 24  # the longest caption has 14 words; two tokens mark start and end
_START, _END = "<|startoftext|>", "<|endoftext|>"
_LAST = "</w>"  # marks the last piece of a word


def build_tokenizer(seed: int) -> CLIPTokenizer:
    """Learn the merges from captions and hand them to transformers' own tokenizer class."""
    learner = Tokenizer(models.BPE(end_of_word_suffix=_LAST))
    learner.normalizer = normalizers.Lowercase()
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        end_of_word_suffix=_LAST,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    captions = [scene.caption for scene in sample_scenes("train", 2000, seed)]
    learner.train_from_iterator(captions, trainer)
    vocabulary = learner.get_vocab()
    # The learner numbers the last letters of words differently in every run.
    last_letters = sorted(t for t in vocabulary if len(t.removesuffix(_LAST)) == 1 < len(t))
    ids = sorted(vocabulary[token] for token in last_letters)
    vocabulary.update(zip(last_letters, ids, strict=True))
    # Bytes that end a word are needed to spell words from outside the world.
    for byte in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary.setdefault(byte + _LAST, len(vocabulary))
    # The end token has the highest id: CLIP finds the end of a text by argmax.
    vocabulary[_START] = len(vocabulary)
    vocabulary[_END] = len(vocabulary)
    merges = _merges(learner)
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=CONTEXT_LENGTH)


def _merges(learner: Tokenizer) -> list[tuple[str, str]]:
    """The learned merges in order; the tokenizers library hands them out as JSON only."""
    pairs = json.loads(learner.to_str())["model"]["merges"]
    return [(left, right) for left, right in pairs]


def save_tokenizer(folder: Path, seed: int) -> CLIPTokenizer:
    """Write the tokenizer in transformers' format into ``folder`` and return it."""
    tokenizer = build_tokenizer(seed)
    tokenizer.save_pretrained(folder)
    return tokenizer


def load_tokenizer(folder: Path) -> CLIPTokenizer:
    """The inverse of :func:`save_tokenizer`."""
    return CLIPTokenizer.from_pretrained(folder, model_max_length=CONTEXT_LENGTH)


def tokenize(tokenizer: CLIPTokenizer, captions: Sequence[str]) -> Tensor:
    """Token ids padded to the context length, ``(n, 24)``."""
    encoded = tokenizer(
        list(captions),
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    )
    input_ids: Tensor = encoded.input_ids
    return input_ids
