"""Groups of blocks: which there are, what they hold, and their names."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given, settings
from random_unets import unet_configs
from small_unet import SD_15, SMALL

from supernet.architecture import Architecture, ArchitectureError
from supernet.block_groups import Grouping, block_groups, find_group
from supernet.inventory import take_inventory, unet_config


def groups(full: Architecture, grouping: Grouping) -> dict[str, list[str]]:
    return {g.name: [str(block) for block in g.blocks] for g in block_groups(full, grouping)}


@pytest.fixture(scope="module")
def sd15() -> Architecture:
    return take_inventory(unet_config(SD_15)).full()


def test_all_blocks_of_a_kind_in_a_stage(sd15: Architecture) -> None:
    stages = groups(sd15, "stage")
    assert stages["all cross_attention down.0"] == [
        "cross_attention down.0/0",
        "cross_attention down.0/1",
    ]
    assert stages["all resnet up.3"] == [f"resnet up.3/{j}" for j in range(3)]
    assert "all cross_attention mid" not in stages  # a single block is no group
    assert len(stages) == 15  # 9 stages, 6 of them with several attentions


def test_a_layer_is_a_resnet_with_the_attention_behind_it(sd15: Architecture) -> None:
    layers = groups(sd15, "layer")
    assert layers["layer down.1/1"] == ["resnet down.1/1", "cross_attention down.1/1"]
    assert layers["layer mid/0"] == ["resnet mid/0", "cross_attention mid/0"]
    assert "layer down.3/0" not in layers  # no attention there
    assert len(layers) == 16


def test_a_pair_is_joined_by_a_skip_connection(sd15: Architecture) -> None:
    """Of a stage, the way up takes last what the way down made first."""
    pairs = groups(sd15, "pair")
    assert pairs["pair resnet down.0/1"] == ["resnet down.0/1", "resnet up.3/0"]
    assert pairs["pair resnet down.0/0"] == ["resnet down.0/0", "resnet up.3/1"]
    assert pairs["pair cross_attention down.2/1"] == [
        "cross_attention down.2/1",
        "cross_attention up.1/0",
    ]
    assert len(pairs) == 8 + 6


def test_layers_of_one_attention() -> None:
    config = unet_config({**SMALL, "transformer_layers_per_block": 3})
    full = take_inventory(config, granularity="transformer_layer").full()
    attentions = groups(full, "attention")
    assert attentions["layers of mid/0"] == [f"transformer_layer mid/0.{k}" for k in range(3)]
    assert len(attentions) == 6
    assert len(groups(full, "stage")["all cross_attention down.0"]) == 6
    assert len(groups(full, "layer")["layer down.0/0"]) == 4


@settings(max_examples=10, deadline=None)
@given(unet_configs())
def test_every_group_is_found_by_its_name(config: dict[str, object]) -> None:
    full = take_inventory(unet_config(config), granularity="transformer_layer").full()
    for grouping in get_args(Grouping):
        for group in block_groups(full, grouping):
            assert find_group(str(group), full) == group
            assert len(group.blocks) > 1
            assert list(group.blocks) == sorted(set(group.blocks))
            assert set(group.blocks) <= set(full)


@pytest.mark.parametrize("text", ["all resnet down.9", "layer mid", "pair resnet up.0/0", "resnet"])
def test_a_group_that_is_none_is_refused_by_name(sd15: Architecture, text: str) -> None:
    with pytest.raises(ArchitectureError, match=f"no group of blocks '{text}'"):
        find_group(text, sd15)
