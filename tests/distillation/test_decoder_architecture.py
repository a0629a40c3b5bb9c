"""A decoder's sizes as a value: round trips, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from teachers import build_teacher

from distillation.decoder_architecture import DecoderArchitecture, DecoderError
from distillation.decoders import autoencoder_config

FULL = DecoderArchitecture.full(autoencoder_config(build_teacher()))


def test_the_full_one_has_the_base_s_sizes_in_forward_order() -> None:
    assert FULL.channels == (16, 16, 8)
    assert FULL.resnets == (2, 2, 2)
    assert FULL.mid_resnets == 2
    assert FULL.attention


def test_json_gives_back_the_same_value() -> None:
    small = FULL.narrowed((0.5, 0.25, 0.5)).shortened(1, 1).without_attention()
    text = json.dumps(small.to_json())
    assert DecoderArchitecture.from_json(json.loads(text)) == small
    assert DecoderArchitecture.from_json(json.loads(text)).id == small.id
    assert len({small, FULL, DecoderArchitecture.from_json(FULL.to_json())}) == 2
    assert small.id != FULL.id


def test_every_group_keeps_as_many_channels() -> None:
    # 16 channels in 4 groups: 0.4 of them are 6.4, of which 2 a group are whole.
    assert FULL.narrowed(0.4).channels == (8, 8, 4)
    assert FULL.narrowed(0.01).channels == (4, 4, 4)
    assert FULL.narrowed(1) == FULL


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"channels": [16, 16]}, r"channels are \[16, 16\]; give 3"),
        ({"channels": [16, 10, 8]}, "stage 1 has 10 channels; give a multiple of 4"),
        ({"channels": [32, 16, 8]}, "up to the base's 16"),
        ({"resnets": [2, 0, 2]}, "stage 1 has 0 ResNets; give 1 to 2"),
        ({"mid_resnets": 3}, "mid_resnets is 3; give 0 to 2"),
        ({"mid_resnets": True}, "mid_resnets is True; write it like 2"),
        ({"width": 3}, "a decoder has no 'width'; there are: channels"),
        ({"attention": 1}, "attention is 1; write it like true"),
    ],
)
def test_impossible_sizes_are_refused(sizes: dict[str, Any], message: str) -> None:
    with pytest.raises(DecoderError, match=message):
        DecoderArchitecture.of_sizes(FULL.base, sizes)


@pytest.mark.parametrize("ratios", [0, 1.5, (0.5, 0.5)])
def test_impossible_ratios_are_refused(ratios: Any) -> None:
    with pytest.raises(DecoderError, match="ratio"):
        FULL.narrowed(ratios)


def test_other_decoders_are_refused() -> None:
    vae = build_teacher(act_fn="relu")
    with pytest.raises(DecoderError, match="act_fn of the base is 'relu'; only silu"):
        DecoderArchitecture.full(autoencoder_config(vae))
    with pytest.raises(DecoderError, match="block_out_channels of the base is None"):
        DecoderArchitecture.from_json(
            {
                "base": {
                    "in_channels": 3,
                    "out_channels": 3,
                    "latent_channels": 4,
                    "layers_per_block": 1,
                    "norm_num_groups": 4,
                }
            }
        )
