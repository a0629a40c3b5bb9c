"""``evounet train base``: every model of the shapes world, from nothing.

Five stages, each of which leaves its result in the folder and is skipped where that is there
already: ``autoencoder`` (latents), ``decoder`` (sharper pictures from the same latents),
``judge`` (the CLIP that scores), ``text`` (the encoder that conditions) and ``unet``.
``autoencoder`` comes before ``decoder`` and ``text``, and that before ``unet``; otherwise they
are independent and may run side by side.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from rich.console import Console
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from experiments.progress import track
from experiments.shapes.base_training import BaseTraining
from experiments.shapes.clip import train_clip
from experiments.shapes.dataset import PictureSet, draw
from experiments.shapes.diffusion import (
    build_scheduler,
    build_unet,
    caption_batches,
    save_pipeline,
)
from experiments.shapes.text_encoder import train_text_encoder
from experiments.shapes.tokenizer import load_tokenizer, save_tokenizer
from experiments.shapes.vae import encode, train_decoder, train_vae
from supernet.robust_training import train
from supernet.supernet import Supernet

PIPELINE, JUDGE = "pipeline", "judge"  # folders of what is trained
STAGES = ("autoencoder", "decoder", "judge", "text", "unet")
_DONE = "done"  # what a finished stage leaves behind


def parse_stages(text: str) -> tuple[str, ...]:
    """``"autoencoder,unet"`` as stages.

    Raises:
        ValueError: naming a stage that does not exist.
    """
    stages = tuple(text.split(","))
    for stage in stages:
        if stage not in STAGES:
            raise ValueError(f"--stages: unknown stage {stage!r}; use {', '.join(STAGES)}")
    return stages


class BaseModels:
    """The folder that the stages write to: half-way results in ``stages/``, what is shipped beside.

    Args:
        folder: gets ``pipeline/`` (a Stable Diffusion folder), ``judge/`` (an open_clip folder)
            and ``training.json`` (what made them).
        settings: sizes of the trainings.
        seed: fixes all of them.
        console: shows progress.
    """

    def __init__(self, folder: Path, settings: BaseTraining, seed: int, console: Console) -> None:
        self.folder = folder
        self.settings = settings
        self.seed = seed
        self.console = console
        self.pictures = draw("train", settings.pictures, seed)

    def train(self, stages: Sequence[str] = STAGES) -> None:
        """Run the stages that are not done yet; put the pipeline together once all parts exist.

        Raises:
            ValueError: if a stage comes before one that it needs.
        """
        for stage in stages:
            if self._done(stage):
                self.console.print(f"{stage}: done already")
                continue
            self._check_needs(stage)
            getattr(self, f"_train_{stage}")()
            (self._stage(stage) / _DONE).touch()
        if all(self._done(stage) for stage in STAGES):
            self._assemble()

    def _check_needs(self, stage: str) -> None:
        needs = {"decoder": ("autoencoder",), "text": ("autoencoder",), "unet": ("text",)}
        for needed in needs.get(stage, ()):
            if not self._done(needed):
                raise ValueError(f"--stages: {stage} needs {needed}, which is not trained yet")

    def _done(self, stage: str) -> bool:
        return (self._stage(stage) / _DONE).exists()

    def _stage(self, name: str) -> Path:
        return self.folder / "stages" / name

    def _train_autoencoder(self) -> None:
        with track(self.console, "autoencoder", self.settings.vae_steps) as on_progress:
            vae = train_vae(
                self.pictures,
                steps=self.settings.vae_steps,
                batch_size=self.settings.vae_batch_size,
                seed=self.seed,
                on_progress=on_progress,
            )
        vae.save_pretrained(self._stage("autoencoder"))

    def _train_decoder(self) -> None:
        vae, latents = self._latents()
        with track(self.console, "decoder", self.settings.decoder_steps) as on_progress:
            train_decoder(
                vae,
                self.pictures,
                latents,
                steps=self.settings.decoder_steps,
                batch_size=self.settings.vae_batch_size,
                seed=self.seed,
                on_progress=on_progress,
            )
        vae.save_pretrained(self._stage("decoder"))

    def _train_judge(self) -> None:
        with track(self.console, "judge", self.settings.judge_steps) as on_progress:
            train_clip(
                self._stage("judge"),
                self.pictures,
                steps=self.settings.judge_steps,
                batch_size=self.settings.judge_batch_size,
                seed=self.seed + 1,
                on_progress=on_progress,
            )

    def _train_text(self) -> None:
        vae, latents = self._latents()
        tokenizer = save_tokenizer(self._stage("text"), self.seed)
        with track(self.console, "text encoder", self.settings.text_steps) as on_progress:
            text_encoder = train_text_encoder(
                tokenizer,
                captions(self.pictures),
                latents * vae.config.scaling_factor,
                steps=self.settings.text_steps,
                batch_size=self.settings.text_batch_size,
                seed=self.seed + 2,
                on_progress=on_progress,
            )
        text_encoder.save_pretrained(self._stage("text"))

    def _train_unet(self) -> None:
        vae, latents = self._latents()
        torch.manual_seed(self.seed)
        unet = build_unet()
        tokenizer, text_encoder = self._text()
        batches = caption_batches(
            latents * vae.config.scaling_factor,
            captions(self.pictures),
            tokenizer,
            text_encoder,
            self.settings.unet.batch_size,
            self.seed,
        )
        with track(self.console, "UNet", self.settings.unet.steps) as on_progress:
            train(
                Supernet(unet),
                batches,
                build_scheduler(),
                self.settings.unet,
                self.seed,
                checkpoint=self.folder / "stages" / "unet.training.safetensors",
                on_progress=on_progress,
            )
        unet.save_pretrained(self._stage("unet"))

    def _latents(self) -> tuple[AutoencoderKL, Tensor]:
        vae = AutoencoderKL.from_pretrained(self._stage("autoencoder"))
        return vae, encode(vae, self.pictures, slice(None))

    def _text(self) -> tuple[CLIPTokenizer, CLIPTextModel]:
        folder = self._stage("text")
        text_encoder = CLIPTextModel.from_pretrained(folder).eval().requires_grad_(False)
        return load_tokenizer(folder), text_encoder

    def _assemble(self) -> None:
        tokenizer, text_encoder = self._text()
        save_pipeline(
            self.folder / PIPELINE,
            tokenizer,
            text_encoder,
            UNet2DConditionModel.from_pretrained(self._stage("unet")),
            AutoencoderKL.from_pretrained(self._stage("decoder")),
        )
        judge = shutil.ignore_patterns(_DONE)
        shutil.copytree(self._stage("judge"), self.folder / JUDGE, ignore=judge, dirs_exist_ok=True)
        made_by = {
            "command": f"evounet train base --seed {self.seed}",
            "settings": self.settings.model_dump(),
        }
        (self.folder / "training.json").write_text(json.dumps(made_by, indent=2) + "\n")


def captions(pictures: PictureSet) -> list[str]:
    return [scene.caption for scene in pictures.scenes]
