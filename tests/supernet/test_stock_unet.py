"""Where stock diffusers can say a found UNet, it computes the same; bit for bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from random_unets import random_inputs, random_unet, unet_configs

from supernet.standalone_unet import StandaloneUNet
from supernet.stock_unet import as_stock

# Two stages; in the second one's attentions three transformer layers.
CONFIG = {
    "sample_size": 8,
    "block_out_channels": (8, 16),
    "layers_per_block": 2,
    "down_block_types": ("CrossAttnDownBlock2D",) * 2,
    "up_block_types": ("CrossAttnUpBlock2D",) * 2,
    "transformer_layers_per_block": (1, 3),
    "cross_attention_dim": 6,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
}
MIDDLE = ("resnet mid/0", "cross_attention mid/0", "resnet mid/1")


def without(*blocks: str) -> dict[str, int]:
    return dict.fromkeys(blocks, 0)


def same(unet: UNet2DConditionModel, stock: UNet2DConditionModel) -> bool:
    inputs = random_inputs(unet)
    with torch.no_grad():
        return torch.equal(unet(**inputs).sample, stock(**inputs).sample)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({}, {"down_block_types": ["CrossAttnDownBlock2D"] * 2}),
        (
            without("cross_attention down.0/0", "cross_attention down.0/1"),
            {"down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"]},
        ),
        (
            without(*(f"cross_attention up.1/{i}" for i in range(3))),
            {"up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"]},
        ),
        (without(*MIDDLE), {"mid_block_type": None}),
        (without(*MIDDLE[:2]), {"mid_block_type": "UNetMidBlock2D"}),
        (without(*MIDDLE[1:]), {"mid_block_type": "UNetMidBlock2D"}),
        (
            without("transformer_layer down.1/1.0", "transformer_layer down.1/1.2")
            | {"transformer_layer up.0/1.1": 2},
            {
                "transformer_layers_per_block": [1, [3, 1]],
                "reverse_transformer_layers_per_block": [[3, 4, 3], 1],
            },
        ),
    ],
)
def test_it_is_said_by_the_stock_configuration(
    changed: dict[str, int], says: dict[str, Any]
) -> None:
    unet = StandaloneUNet(changed, **CONFIG).eval()
    stock = as_stock(unet)
    assert stock is not None
    assert type(stock) is UNet2DConditionModel
    assert {name: stock.config[name] for name in says} == says
    assert same(unet, stock)
    assert stock.num_parameters() == unet.num_parameters()


@pytest.mark.parametrize(
    "changed",
    [
        without("resnet down.0/0"),
        without("resnet up.1/2"),
        without("cross_attention down.0/0"),
        without("cross_attention mid/0"),
        without("resnet mid/1"),
        without("transformer_layer mid/0.0"),  # the last stage's attentions have three
        {"resnet mid/0": 2},
        {"resnet down.0/1": 2},
        {"cross_attention up.0/0": 2},
    ],
)
def test_nothing_is_said_where_there_are_no_words(changed: dict[str, int]) -> None:
    assert as_stock(StandaloneUNet(changed, **CONFIG)) is None


@settings(
    deadline=None,
    max_examples=6,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.data_too_large, HealthCheck.too_slow],
)
@given(unet_configs(), st.data())
def test_any_base_without_some_stages_attention(
    config: dict[str, Any], data: st.DataObject
) -> None:
    base = random_unet(config)
    stages = [(f"down.{i}", s) for i, s in enumerate(base.down_blocks)]
    stages += [(f"up.{i}", s) for i, s in enumerate(base.up_blocks)]
    gone = data.draw(st.sets(st.sampled_from([name for name, _ in stages])))
    changed = without(
        *(
            f"cross_attention {name}/{i}"
            for name, stage in stages
            if name in gone
            for i in range(len(getattr(stage, "attentions", ())))
        )
    )
    unet = StandaloneUNet(changed, **{k: v for k, v in base.config.items() if k[0] != "_"}).eval()
    stock = as_stock(unet)
    assert stock is not None
    assert same(unet, stock)
