"""``evounet train base``: every model of the shapes world, from nothing."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console

from experiments.progress import track
from experiments.shapes.dataset import PictureSet, draw
from experiments.shapes.diffusion import (
    build_scheduler,
    build_text_encoder,
    build_unet,
    caption_batches,
    save_pipeline,
)
from experiments.shapes.judge import train_judge
from experiments.shapes.tokenizer import build_tokenizer
from experiments.shapes.vae import encode, train_decoder, train_vae
from supernet.robust_training import TrainingSettings, train
from supernet.supernet import Supernet

PIPELINE, JUDGE = "pipeline", "judge"  # folders of what is trained


class BaseTraining(BaseModel):
    """How the models of the world are trained; the defaults made the shipped ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pictures: int = Field(32_768, ge=1024)
    vae_steps: int = Field(1400, ge=1)
    decoder_steps: int = Field(3000, ge=1)
    vae_batch_size: int = Field(16, ge=1)
    judge_steps: int = Field(2500, ge=1)
    judge_batch_size: int = Field(96, ge=1)
    unet: TrainingSettings = TrainingSettings(
        steps=3000, learning_rate=1.2e-3, warmup_steps=100, ema_decay=0.998, keep_prob=(1.0, 1.0)
    )


def train_base(folder: Path, settings: BaseTraining, seed: int, console: Console) -> None:
    """Train tokenizer, autoencoder, judge, text encoder and UNet, and write them to ``folder``.

    Args:
        folder: gets ``pipeline/`` (a Stable Diffusion folder), ``judge/`` (an open_clip folder)
            and ``training.json`` (what made them).
        settings: sizes of the trainings.
        seed: fixes all of them.
        console: shows progress.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures = draw("train", settings.pictures, seed)
    with track(console, "judge", settings.judge_steps) as on_progress:
        train_judge(
            folder / JUDGE,
            pictures,
            steps=settings.judge_steps,
            batch_size=settings.judge_batch_size,
            seed=seed + 1,
            on_progress=on_progress,
        )
    with track(console, "autoencoder", settings.vae_steps) as on_progress:
        vae = train_vae(
            pictures,
            steps=settings.vae_steps,
            batch_size=settings.vae_batch_size,
            seed=seed,
            on_progress=on_progress,
        )
    latents = encode(vae, pictures, slice(None))
    with track(console, "decoder", settings.decoder_steps) as on_progress:
        train_decoder(
            vae,
            pictures,
            latents,
            steps=settings.decoder_steps,
            batch_size=settings.vae_batch_size,
            seed=seed,
            on_progress=on_progress,
        )
    torch.manual_seed(seed)
    tokenizer = build_tokenizer(seed)
    text_encoder, unet = build_text_encoder(tokenizer), build_unet()
    batches = caption_batches(
        latents * vae.config.scaling_factor,
        captions(pictures),
        tokenizer,
        text_encoder,
        settings.unet.batch_size,
        seed,
    )
    with track(console, "text encoder and UNet", settings.unet.steps) as on_progress:
        train(
            Supernet(unet),
            batches,
            build_scheduler(),
            settings.unet,
            seed,
            also_train={"text_encoder": text_encoder},
            checkpoint=folder / "unet.training.safetensors",
            on_progress=on_progress,
        )
    save_pipeline(folder / PIPELINE, tokenizer, text_encoder, unet, vae)
    made_by = {"command": "evounet train base", "seed": seed, "settings": settings.model_dump()}
    (folder / "training.json").write_text(json.dumps(made_by, indent=2) + "\n")


def captions(pictures: PictureSet) -> list[str]:
    return [scene.caption for scene in pictures.scenes]
