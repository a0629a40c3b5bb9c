"""The shapes world as training data: drawn and encoded when first asked for."""

from __future__ import annotations

from diffusers import StableDiffusionPipeline
from torch import Tensor

from experiments.shapes.base import captions
from experiments.shapes.dataset import draw
from experiments.shapes.diffusion import caption_batches
from experiments.shapes.vae import encode
from supernet.batches import Batches


class ShapesData:
    """Pictures of the world's training split; all their latents are held in memory.

    Args:
        pipeline: of the shapes world.
        pictures: how many.
        seed: which.
    """

    def __init__(self, pipeline: StableDiffusionPipeline, pictures: int, seed: int) -> None:
        self.pipeline = pipeline
        self.pictures = pictures
        self.seed = seed
        self._latents: tuple[Tensor, list[str]] | None = None

    def check(self, batch_size: int) -> None:
        """Any batch can be had: its pictures are drawn with repetition."""

    def batches(self, batch_size: int, seed: int, caption_dropout: float) -> Batches:
        if self._latents is None:
            pictures = draw("train", self.pictures, self.seed)
            vae = self.pipeline.vae
            scaled = encode(vae, pictures, slice(None)) * vae.config.scaling_factor
            self._latents = scaled, captions(pictures)
        latents, texts = self._latents
        return caption_batches(
            latents,
            texts,
            self.pipeline.tokenizer,
            self.pipeline.text_encoder,
            batch_size,
            seed,
            caption_dropout,
        )
