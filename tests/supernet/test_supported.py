"""Unusual configurations are analysed and run in full, or refused with the reason."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_unet import SMALL, small_inputs, small_unet

from supernet.architecture import ArchitectureError
from supernet.inventory import take_inventory, unet_config
from supernet.standalone_unet import materialize
from supernet.supernet import Supernet

SUPPORTED: dict[str, dict[str, Any]] = {
    "layers by stage": {"layers_per_block": (1, 2)},
    "transformer layers by stage": {"transformer_layers_per_block": (2, 1)},
    "transformer layers by block": {
        "transformer_layers_per_block": ((1, 2), 1),
        "reverse_transformer_layers_per_block": (1, (2, 1, 3)),
    },
    "no mid block": {"mid_block_type": None},
    "mid block without attention": {"mid_block_type": "UNetMidBlock2D"},
    "linear projection": {"use_linear_projection": True},
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
    "guidance embedding": {"time_cond_proj_dim": 6},
}
SDXL: dict[str, Any] = {
    "addition_embed_type": "text_time",
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
    "text embedding": (
        {"addition_embed_type": "text"},
        f"{MORE_CONDITIONING}: addition_embed_type is 'text'",
    ),
    "projected prompt": ({"encoder_hid_dim": 20}, f"{MORE_CONDITIONING}: encoder_hid_dim is 20"),
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
    "prompt widths by stage": ({"cross_attention_dim": (12, 20)}, "prompts of different widths"),
    "nested layers without their reverse": (
        {"transformer_layers_per_block": ((1, 2), 1)},
        "diffusers cannot build this UNet configuration: .*reverse_transformer_layers_per_block",
    ),
    "uneven lists": ({"block_out_channels": (8, 16, 16)}, "diffusers cannot build"),
    "groups that do not divide": ({"norm_num_groups": 3}, "diffusers cannot build"),
    "negative channels": ({"block_out_channels": (-8, 16)}, "diffusers cannot build"),
}


@pytest.mark.parametrize("changes", SUPPORTED.values(), ids=SUPPORTED)
def test_it_is_analysed_and_runs(changes: dict[str, Any]) -> None:
    supernet = Supernet(small_unet(**changes))
    inventory = supernet.inventory
    weights = sum(parameter.numel() for parameter in supernet.unet.parameters())
    assert inventory.parameters(inventory.full()) == weights
    sample, timestep, prompt = small_inputs()
    smallest = inventory.smallest()
    standalone = materialize(supernet.unet, smallest)
    assert inventory.parameters(smallest) == sum(p.numel() for p in standalone.parameters())
    with torch.no_grad(), supernet.running(smallest) as unet:
        output = unet(sample, timestep, prompt).sample
        torch.testing.assert_close(
            standalone(sample, timestep, prompt).sample, output, rtol=0, atol=1e-5
        )
    assert output.shape == sample.shape


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_it_is_refused_with_the_reason(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ArchitectureError, match=message) as refusal:
        take_inventory(unet_config({**SMALL, **changes}))
    assert "\n" not in str(refusal.value)


def test_sdxls_conditioning_is_analysed_but_not_run() -> None:
    unet = small_unet(**SDXL)
    inventory = take_inventory(unet_config(unet))
    assert inventory.parameters(inventory.full()) == sum(p.numel() for p in unet.parameters())
    [part] = [p for p in inventory.fixed if p.signature.kind == "text_time_embedding"]
    assert part.signature.in_channels == 60
    assert part.parameters == sum(p.numel() for p in unet.add_embedding.parameters())
    with pytest.raises(ArchitectureError, match="addition_embed_type is 'text_time'; it can be an"):
        Supernet(unet)


def test_a_supernet_of_a_class_conditioned_unet_is_refused() -> None:
    with pytest.raises(ArchitectureError, match="num_class_embeds is 10"):
        Supernet(small_unet(num_class_embeds=10))
