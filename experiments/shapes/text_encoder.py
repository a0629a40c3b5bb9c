"""The text encoder that conditions the UNet, trained by what the caption says of the latents.

The text half of a CLIP answers for whole captions only: all but its last token are free to say
nothing of what stands where, and a small UNet then takes long to learn it. Here every token may
be read by a picture head that predicts the caption's mean latents place by place, which is what
the UNet's cross-attention has to do at the noisiest timestep. The head is thrown away.
The judge (:mod:`experiments.shapes.clip`) has no part in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import OneCycleLR
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from experiments.progress import OnProgress
from experiments.shapes.dataset import batch_rows
from experiments.shapes.tokenizer import CONTEXT_LENGTH, tokenize
from experiments.shapes.vae import LATENT_CHANNELS
from supernet.training_context import autocast

CONTEXT_WIDTH = 96
_HEADS = 3
_PLACES = 8  # the head predicts latents in 8x8 patches of 2x2
_PATCH = 2


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """A CLIP text model of two layers; hidden states ``(batch, 24, 96)``."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=CONTEXT_WIDTH,
            intermediate_size=4 * CONTEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=_HEADS,
            max_position_embeddings=CONTEXT_LENGTH,
            hidden_act="gelu",
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            # Torch's fused attention has a slow backward pass on a CPU.
            attn_implementation="eager",
        )
    )


class PictureHead(nn.Module):
    """One layer of cross-attention from places to tokens; a learned query for every place."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Parameter(0.5 * torch.randn(_PLACES**2, CONTEXT_WIDTH))
        self.layer = nn.TransformerDecoderLayer(
            CONTEXT_WIDTH,
            _HEADS,
            2 * CONTEXT_WIDTH,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.norm = nn.LayerNorm(CONTEXT_WIDTH)
        self.patches = nn.Linear(CONTEXT_WIDTH, LATENT_CHANNELS * _PATCH**2)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Latents ``(batch, 4, 16, 16)`` from hidden states ``(batch, 24, 96)``."""
        places = self.layer(self.places.expand(len(hidden_states), -1, -1), hidden_states)
        patches = self.patches(self.norm(places)).transpose(1, 2)
        return F.pixel_shuffle(patches.unflatten(2, (_PLACES, _PLACES)), _PATCH)


def train_text_encoder(
    tokenizer: CLIPTokenizer,
    captions: Sequence[str],
    latents: Tensor,
    *,
    steps: int,
    batch_size: int,
    seed: int,
    on_progress: OnProgress,
) -> CLIPTextModel:
    """Train an encoder from nothing and return it frozen.

    Args:
        tokenizer: turns captions into tokens.
        captions: ``n`` of them.
        latents: their pictures' latents times the VAE's scaling factor, ``(n, 4, 16, 16)``.
        steps: optimizer steps.
        batch_size: captions per step.
        seed: fixes weights and batches.
        on_progress: called after each step with the mean squared error.
    """
    torch.manual_seed(seed)
    encoder, head = build_text_encoder(tokenizer), PictureHead()
    parameters = [*encoder.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(
        parameters, lr=2e-3, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    schedule = OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps, pct_start=0.1)
    tokens = tokenize(tokenizer, captions)
    for step, rows in enumerate(batch_rows(len(latents), batch_size, range(steps), seed)):
        with autocast("auto", torch.device("cpu")):
            predicted = head(encoder(tokens[rows]).last_hidden_state)
        loss = F.mse_loss(predicted.float(), latents[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        on_progress(step + 1, {"loss": loss.item()})
    return encoder.eval().requires_grad_(False)
