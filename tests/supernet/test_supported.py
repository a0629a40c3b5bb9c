"""Unusual configurations are analysed and run in full, or refused with the reason."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from small_unet import SMALL, small_unet

from supernet.architecture import ArchitectureError
from supernet.inventory import take_inventory, unet_config
from supernet.materialize import materialize
from supernet.supernet import Supernet
from supernet.tracing import example_inputs

SDXL: dict[str, Any] = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 60,
}
SUPPORTED: dict[str, dict[str, Any]] = {
    "layers by stage": {"layers_per_block": (1, 2)},
    "transformer layers by stage": {"transformer_layers_per_block": (2, 1)},
    "transformer layers by block": {
        "transformer_layers_per_block": ((1, 2), 1),
        "reverse_transformer_layers_per_block": (1, (2, 1, 3)),
    },
    "transformers without layers": {"transformer_layers_per_block": (0, 2)},
    "no mid block": {"mid_block_type": None},
    "mid block without attention": {"mid_block_type": "UNetMidBlock2D"},
    "linear projection": {"use_linear_projection": True},
    "attention in fp32": {"upcast_attention": True},
    "heads by stage": {"attention_head_dim": (2, 4)},
    "one prompt width for each stage": {"cross_attention_dim": (12, 12)},
    "no attention at all": {
        "down_block_types": ("DownBlock2D", "DownBlock2D"),
        "mid_block_type": "UNetMidBlock2D",
        "up_block_types": ("UpBlock2D", "UpBlock2D"),
    },
    "one stage": {
        "block_out_channels": (8,),
        "down_block_types": ("CrossAttnDownBlock2D",),
        "up_block_types": ("CrossAttnUpBlock2D",),
    },
    "other latents": {"in_channels": 9, "out_channels": 8, "sample_size": (8, 16)},
    "centred input": {"center_input_sample": True},
    "other sinusoids": {"flip_sin_to_cos": False, "freq_shift": 1},
    "other groups": {"norm_num_groups": 2, "norm_eps": 1e-3},
    "dropout": {"dropout": 0.3},
    "silu by its other name": {"act_fn": "swish"},
    "another time embedding": {
        "time_embedding_dim": 20,
        "time_embedding_act_fn": "silu",
        "timestep_post_act": "silu",
    },
    "pooled prompt and picture size": SDXL,
}
# What diffusers reads for blocks and embeddings that are refused, and for no others.
WITHOUT_EFFECT: dict[str, Any] = {
    "mid_block_only_cross_attention": True,
    "resnet_skip_time_act": True,
    "resnet_out_scale_factor": 2.0,
    "cross_attention_norm": "layer_norm",
    "addition_embed_type_num_heads": 2,
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 60,
}
MORE_CONDITIONING = "conditioned on more than a timestep and a prompt"
NO_SIGNATURE = "no latency signature"
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "classes": ({"num_class_embeds": 10}, f"{MORE_CONDITIONING}: num_class_embeds is 10"),
    "class timesteps": (
        {"class_embed_type": "timestep"},
        f"{MORE_CONDITIONING}: class_embed_type is 'timestep'; only None is supported",
    ),
    "projected classes": (
        {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 20},
        f"{MORE_CONDITIONING}: class_embed_type is 'projection'",
    ),
    "classes beside the time": (
        {"class_embeddings_concat": True},
        f"{MORE_CONDITIONING}: class_embeddings_concat is True",
    ),
    "guidance embedding": (
        {"time_cond_proj_dim": 6},
        f"{MORE_CONDITIONING}: time_cond_proj_dim is 6",
    ),
    "text embedding": (
        {"addition_embed_type": "text"},
        f"{MORE_CONDITIONING}: addition_embed_type is 'text'",
    ),
    "image embedding": (
        {"addition_embed_type": "image", "encoder_hid_dim": 20},
        f"{MORE_CONDITIONING}: addition_embed_type is 'image'; only None or text_time is",
    ),
    "projected prompt": ({"encoder_hid_dim": 20}, f"{MORE_CONDITIONING}: encoder_hid_dim is 20"),
    "projected picture": (
        {"encoder_hid_dim_type": "image_proj"},
        f"{MORE_CONDITIONING}: encoder_hid_dim_type is 'image_proj'",
    ),
    "no room for the picture size": (
        {**SDXL, "projection_class_embeddings_input_dim": 48},
        "projection_class_embeddings_input_dim is 48; it must be more than 6 times addition_time",
    ),
    "no width for the pooled prompt": (
        {**SDXL, "projection_class_embeddings_input_dim": None},
        "diffusers cannot build",
    ),
    "gligen": ({"attention_type": "gated"}, f"{MORE_CONDITIONING}: attention_type is 'gated'"),
    "simple attention": (
        {
            "down_block_types": ("SimpleCrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "SimpleCrossAttnUpBlock2D"),
        },
        f"{NO_SIGNATURE}: down_block_types is 'SimpleCrossAttnDownBlock2D'; "
        "only CrossAttnDownBlock2D or DownBlock2D is supported",
    ),
    "simple mid block": (
        {"mid_block_type": "UNetMidBlock2DSimpleCrossAttn"},
        f"{NO_SIGNATURE}: mid_block_type",
    ),
    "two prompts": ({"dual_cross_attention": True}, f"{NO_SIGNATURE}: dual_cross_attention"),
    "no self-attention": (
        {"only_cross_attention": (True, False)},
        f"{NO_SIGNATURE}: only_cross_attention is True",
    ),
    "Fourier features": (
        {"time_embedding_type": "fourier"},
        f"{NO_SIGNATURE}: time_embedding_type is 'fourier'",
    ),
    "scaling by time": (
        {"resnet_time_scale_shift": "scale_shift"},
        f"{NO_SIGNATURE}: resnet_time_scale_shift",
    ),
    "1x1 input": ({"conv_in_kernel": 1}, f"{NO_SIGNATURE}: conv_in_kernel is 1"),
    "1x1 output": ({"conv_out_kernel": 1}, f"{NO_SIGNATURE}: conv_out_kernel is 1"),
    "padding on two sides": (
        {"downsample_padding": 0},
        f"{NO_SIGNATURE}: downsample_padding is 0",
    ),
    "another activation": (
        {"act_fn": "gelu"},
        f"{NO_SIGNATURE}: act_fn is 'gelu'; only silu or swish is supported",
    ),
    "scaled shortcuts": (
        {"mid_block_scale_factor": 1.5},
        "would leave its shortcut without the scale on it: mid_block_scale_factor is 1.5",
    ),
    "no flag": (
        {"use_linear_projection": {}},
        "field 'use_linear_projection' is {}; give true or false",
    ),
    "no groups": ({"norm_num_groups": None}, "diffusers cannot build"),
    "number of heads": ({"num_attention_heads": 2}, "diffusers cannot build"),
    "prompt widths by stage": ({"cross_attention_dim": (12, 20)}, "prompts of different widths"),
    "nested layers without their reverse": (
        {"transformer_layers_per_block": ((1, 2), 1)},
        "diffusers cannot build this UNet configuration: .*reverse_transformer_layers_per_block",
    ),
    "uneven lists": ({"block_out_channels": (8, 16, 16)}, "diffusers cannot build"),
    "groups that do not divide": ({"norm_num_groups": 3}, "diffusers cannot build"),
    "negative channels": ({"block_out_channels": (-8, 16)}, "diffusers cannot build"),
}


def inputs(unet: UNet2DConditionModel) -> dict[str, Any]:
    size = unet.config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    return example_inputs(unet, batch=2, height=height, width=width, context_length=5)


def test_every_setting_of_diffusers_is_looked_at() -> None:
    settings = list(inspect.signature(UNet2DConditionModel.__init__).parameters)[1:]
    tables = [*SUPPORTED.values(), WITHOUT_EFFECT, *(changes for changes, _ in REFUSED.values())]
    assert set(settings) == {setting for changes in tables for setting in changes}


@pytest.mark.parametrize("changes", SUPPORTED.values(), ids=SUPPORTED)
def test_it_is_analysed_and_runs(changes: dict[str, Any]) -> None:
    stock = small_unet(**changes)
    given = inputs(stock)
    supernet = Supernet(small_unet(**changes))
    inventory = supernet.inventory
    weights = sum(parameter.numel() for parameter in supernet.unet.parameters())
    assert inventory.parameters(inventory.full()) == weights
    with torch.no_grad():
        expected = stock(**given).sample
        with supernet.running(inventory.full()) as unet:
            assert torch.equal(unet(**given).sample, expected)
        every_other = inventory.full().without([b.id for b in inventory.blocks][::2])
        for architecture in (every_other, inventory.smallest()):
            standalone = materialize(supernet.unet, architecture)
            assert inventory.parameters(architecture) == sum(
                p.numel() for p in standalone.parameters()
            )
            with supernet.running(architecture) as unet:
                output = unet(**given).sample
            assert output.shape == expected.shape
            assert not torch.equal(output, expected)
            torch.testing.assert_close(standalone(**given).sample, output, rtol=0, atol=1e-5)


def test_settings_without_effect_change_nothing() -> None:
    outputs = []
    for supernet in (Supernet(small_unet()), Supernet(small_unet(**WITHOUT_EFFECT))):
        given = inputs(supernet.unet)
        for architecture in (supernet.full(), supernet.inventory.smallest()):
            with torch.no_grad(), supernet.running(architecture) as unet:
                outputs.append(unet(**given).sample)
    full, smallest, full_with_them, smallest_with_them = outputs
    assert torch.equal(full_with_them, full)
    assert torch.equal(smallest_with_them, smallest)


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_it_is_refused_with_the_reason(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ArchitectureError, match=message) as refusal:
        take_inventory(unet_config({**SMALL, **changes}))
    assert "\n" not in str(refusal.value)


def test_sdxls_conditioning_is_a_part_of_its_own() -> None:
    unet = small_unet(**SDXL)
    inventory = take_inventory(unet_config(unet))
    [part] = [p for p in inventory.fixed if p.signature.kind == "text_time_embedding"]
    assert part.signature.in_channels == 60
    assert part.parameters == sum(p.numel() for p in unet.add_embedding.parameters())


def test_a_supernet_of_a_class_conditioned_unet_is_refused() -> None:
    with pytest.raises(ArchitectureError, match="num_class_embeds is 10"):
        Supernet(small_unet(num_class_embeds=10))
