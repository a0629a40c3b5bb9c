"""The text encoder that conditions the UNet: the text half of a CLIP of its own.

It is trained apart from the judge, so that the judge never scores with what it conditioned.
"""

from __future__ import annotations

from pathlib import Path

from open_clip.transformer import ResidualAttentionBlock
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from experiments.shapes.clip import build_clip
from experiments.shapes.tokenizer import CONTEXT_LENGTH


def text_encoder_of(clip_folder: Path, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """The text half of a CLIP in open_clip's format as the class that pipelines expect.

    Args:
        clip_folder: written by :func:`experiments.shapes.clip.train_clip`.
        tokenizer: the one that the CLIP was trained with.

    Returns:
        A frozen encoder; its last hidden states ``(batch, 24, 96)`` are open_clip's own.
    """
    clip = build_clip(len(tokenizer)).float()
    clip.load_state_dict(load_file(clip_folder / "open_clip_model.safetensors"))
    blocks = clip.transformer.resblocks
    width = clip.token_embedding.embedding_dim
    encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=len(blocks),
            num_attention_heads=blocks[0].attn.num_heads,
            max_position_embeddings=CONTEXT_LENGTH,
            hidden_act="gelu",
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    weights = {
        "embeddings.token_embedding.weight": clip.token_embedding.weight,
        "embeddings.position_embedding.weight": clip.positional_embedding,
        "final_layer_norm.weight": clip.ln_final.weight,
        "final_layer_norm.bias": clip.ln_final.bias,
    }
    for i, block in enumerate(blocks):
        weights |= {f"encoder.layers.{i}.{n}": w for n, w in _block_weights(block).items()}
    prefix = "text_model." if any(n.startswith("text_model.") for n in encoder.state_dict()) else ""
    encoder.load_state_dict({prefix + name: weight for name, weight in weights.items()})
    return encoder.eval().requires_grad_(False)


def _block_weights(block: ResidualAttentionBlock) -> dict[str, Tensor]:
    """A block's weights under the names of transformers, which keeps q, k and v apart."""
    weights: dict[str, Tensor] = {}
    for kind in ("weight", "bias"):
        packed = getattr(block.attn, f"in_proj_{kind}").chunk(3)
        weights |= {
            f"self_attn.{name}_proj.{kind}": part for name, part in zip("qkv", packed, strict=True)
        }
    for ours, theirs in (
        ("self_attn.out_proj", block.attn.out_proj),
        ("layer_norm1", block.ln_1),
        ("layer_norm2", block.ln_2),
        ("mlp.fc1", block.mlp.c_fc),
        ("mlp.fc2", block.mlp.c_proj),
    ):
        weights |= {f"{ours}.weight": theirs.weight, f"{ours}.bias": theirs.bias}
    return weights
