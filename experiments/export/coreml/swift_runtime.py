"""What Apple's Swift runtime for Stable Diffusion needs beside the networks, and what it lacks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from evaluators.pipelines import Pipeline

# Constants of its Configuration, Scheduler and BPETokenizer.
_SCALING_FACTOR = 0.18215
_SCHEDULE = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
}
_START, _END = "<|startoftext|>", "<|endoftext|>"
_LAST = "</w>"


def write_tokenizer(tokenizer: Any, folder: Path) -> list[str]:
    """Write ``vocab.json`` and ``merges.txt``, which the runtime reads prompts with.

    Args:
        tokenizer: of the pipeline.
        folder: where to.

    Returns:
        Lines on what the runtime will not find or do; nothing is written if it is no tokenizer of
        CLIP's kind.
    """
    described = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    vocabulary = described.get("vocab", {})
    if described["type"] != "BPE" or described["end_of_word_suffix"] != _LAST:
        return _no_tokenizer("is no byte-pair encoding whose words end in </w>, as CLIP's is")
    if _START not in vocabulary or _END not in vocabulary:
        return _no_tokenizer(f"has no tokens {_START} and {_END}")
    (folder / "vocab.json").write_text(
        json.dumps(vocabulary, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    pairs = [pair if isinstance(pair, str) else " ".join(pair) for pair in described["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *pairs, ""]), encoding="utf-8")
    if tokenizer.pad_token != _END:
        return [
            f"tokenizer: it fills prompts up with {tokenizer.pad_token!r}, the Swift runtime "
            f"with {_END!r} unless its BPETokenizer is given another padToken"
        ]
    return []


def _no_tokenizer(what: str) -> list[str]:
    return [
        f"tokenizer: it {what}; the Swift runtime will not find vocab.json and merges.txt, and "
        "needs token ids from your own tokenizer"
    ]


def settings_notes(pipeline: Pipeline) -> list[str]:
    """Lines on what an app has to set, where the pipeline is not as the runtime takes it to be."""
    notes = []
    scaling = pipeline.vae.config.scaling_factor
    if scaling != _SCALING_FACTOR:
        notes.append(
            f"decoder: set decoderScaleFactor of the Swift runtime to {scaling} "
            f"(it takes {_SCALING_FACTOR})"
        )
    config = pipeline.scheduler.config
    other = {n: config.get(n) for n, value in _SCHEDULE.items() if config.get(n, value) != value}
    if other:
        settings = ", ".join(f"{name} {value}" for name, value in other.items())
        notes.append(
            f"scheduler: the Swift runtime's are made for Stable Diffusion 1; this UNet's has "
            f"{settings}, so an app needs a Scheduler of its own"
        )
    return notes
