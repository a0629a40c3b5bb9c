"""Small UNets of every shape that is supported, drawn at random."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import UNet2DConditionModel
from hypothesis import strategies as st
from torch import Tensor

CONTEXT_WIDTH = 6
POOLED_WIDTH = 8


@st.composite
def unet_configs(draw: st.DrawFn) -> dict[str, Any]:
    """Configurations of UNets with some 10,000 to 300,000 weights.

    One to three stages with or without attention, equal or different numbers of layers, nested
    depths of transformers, any middle, linear or convolutional projection, SDXL's conditioning.
    """
    stages = draw(st.integers(1, 3))
    layers = draw(
        st.one_of(st.integers(1, 2), st.tuples(*(st.integers(1, 3) for _ in range(stages))))
    )
    counts = (layers,) * stages if isinstance(layers, int) else layers
    attention = draw(st.tuples(*(st.booleans() for _ in range(stages))))
    middle = draw(st.sampled_from(["UNetMidBlock2DCrossAttn", "UNetMidBlock2D", None]))
    sdxl = draw(st.booleans())
    config: dict[str, Any] = {
        "sample_size": 2 ** (stages + draw(st.integers(0, 1))),
        "block_out_channels": draw(
            st.tuples(*(st.sampled_from([8, 12, 16]) for _ in range(stages)))
        ),
        "layers_per_block": layers,
        "down_block_types": tuple(
            "CrossAttnDownBlock2D" if has else "DownBlock2D" for has in attention
        ),
        "mid_block_type": middle,
        "up_block_types": tuple(
            "CrossAttnUpBlock2D" if has else "UpBlock2D" for has in reversed(attention)
        ),
        "cross_attention_dim": CONTEXT_WIDTH,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
        "use_linear_projection": draw(st.booleans()),
        "upcast_attention": draw(st.booleans()),
        "resnet_skip_time_act": draw(st.booleans()),
        "addition_embed_type": "text_time" if sdxl else None,
        "addition_time_embed_dim": 4 if sdxl else None,
        "projection_class_embeddings_input_dim": POOLED_WIDTH + 6 * 4 if sdxl else None,
    }
    depths = st.integers(0, 3)
    kind = draw(st.sampled_from(["one", "by stage", "nested"]))
    if kind == "one":
        config["transformer_layers_per_block"] = draw(depths)
    elif kind == "by stage":
        config["transformer_layers_per_block"] = draw(st.tuples(*(depths for _ in counts)))
    else:
        down = [draw(st.lists(depths, min_size=n, max_size=n)) for n in counts]
        up = [draw(st.lists(depths, min_size=n + 1, max_size=n + 1)) for n in reversed(counts)]
        config["transformer_layers_per_block"] = down
        config["reverse_transformer_layers_per_block"] = up
    return config


def random_unet(config: dict[str, Any], seed: int = 0) -> UNet2DConditionModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet2DConditionModel(**config).eval()


def random_inputs(unet: UNet2DConditionModel, batch: int = 2) -> dict[str, Any]:
    """What the UNet is called with: ``batch`` pictures and prompts of 3 tokens."""
    generator = torch.Generator().manual_seed(1)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, generator=generator)

    size = unet.config.sample_size
    inputs: dict[str, Any] = {
        "sample": drawn(4, size, size),
        "timestep": torch.linspace(700, 20, batch).long(),
        "encoder_hidden_states": drawn(3, CONTEXT_WIDTH),
    }
    if unet.config.addition_embed_type is not None:
        inputs["added_cond_kwargs"] = {
            "text_embeds": drawn(POOLED_WIDTH),
            "time_ids": 100 * drawn(6).abs(),
        }
    return inputs
