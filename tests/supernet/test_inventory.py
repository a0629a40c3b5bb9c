"""The inventory against published counts, hand-made formulas and real UNets."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_unet import SD_15, SMALL, architectures, small_unet

from experiments.unets import CONFIGS
from latency_tables.profilers.torch_blocks import build_block
from supernet.architecture import (
    CROSS_ATTENTION,
    RESNET,
    TRANSFORMER_LAYER,
    Architecture,
    ArchitectureError,
    BlockId,
    UNetConfig,
)
from supernet.inventory import take_inventory, unet_config
from supernet.materialize import materialize
from supernet.parts import Inventory, Part
from supernet.supernet import Supernet


@pytest.fixture(scope="module")
def sd15() -> Inventory:
    return take_inventory(unet_config(SD_15))


def blocks(kind: str, stage: str, *indices: int) -> list[BlockId]:
    return [BlockId(kind, stage, index) for index in indices]


def test_sd15_has_its_published_number_of_parameters(sd15: Inventory) -> None:
    assert sd15.parameters(sd15.full()) == 859_520_964


def test_sd15_by_stage(sd15: Inventory) -> None:
    """The paper's Table 3, its "Mid" taken apart into diffusers' down.3, mid and up.0."""
    counts = Counter((block.id.stage, block.id.kind) for block in sd15.blocks)
    by_stage = {
        stage: (counts[stage, CROSS_ATTENTION], counts[stage, RESNET])
        for stage in dict.fromkeys(block.id.stage for block in sd15.blocks)
    }
    assert by_stage == {
        "down.0": (2, 2),
        "down.1": (2, 2),
        "down.2": (2, 2),
        "down.3": (0, 2),
        "mid": (1, 2),
        "up.0": (0, 3),
        "up.1": (3, 3),
        "up.2": (3, 3),
        "up.3": (3, 3),
    }
    assert list(by_stage)[:5] == ["down.0", "down.1", "down.2", "down.3", "mid"]
    kinds = Counter(block.id.kind for block in sd15.blocks)
    assert (kinds[CROSS_ATTENTION], kinds[RESNET]) == (16, 22)


def test_sd15_without_its_cross_attention_at_full_resolution(sd15: Inventory) -> None:
    lighter = sd15.full().without(
        blocks(CROSS_ATTENTION, "down.0", 0, 1) + blocks(CROSS_ATTENTION, "up.3", 0, 1, 2)
    )
    assert round(sd15.parameters(lighter) / 1e6, 1) == 846.8


def test_the_papers_found_unet(sd15: Inventory) -> None:
    """Table 3's efficient UNet: 14 and 17 blocks, 744 to 770 M by how Mid's four are split."""
    found = sd15.full().without(
        [
            *blocks(CROSS_ATTENTION, "down.0", 0, 1),
            *blocks(CROSS_ATTENTION, "up.3", 0, 1, 2),
            *blocks(RESNET, "down.2", 1),
            *blocks(RESNET, "down.3", 1),
            *blocks(RESNET, "mid", 1),
            *blocks(RESNET, "up.0", 2),
            *blocks(RESNET, "up.1", 2),
        ]
    )
    found = found.with_multiplicities(dict.fromkeys(blocks(CROSS_ATTENTION, "up.1", 0, 1, 2), 2))
    running = Counter({CROSS_ATTENTION: 0, RESNET: 0})
    for block, count in found.blocks:
        running[block.kind] += count
    assert running == {CROSS_ATTENTION: 14, RESNET: 17}
    # A removed ResNet that changes channels leaves its shortcut here; the paper is silent on it.
    removed = [sd15.by_id[block].remainder for block in found.removed]
    shortcuts = sum(part.parameters for part in removed if part is not None)
    assert 744e6 <= sd15.parameters(found) - shortcuts <= 770e6
    assert sd15.macs(found) < sd15.macs(sd15.full())


@pytest.mark.parametrize(
    ("changes", "parameters"),
    [
        ({"layers_per_block": 1}, 579_384_964),  # BK-SDM-Base
        ({"layers_per_block": 1, "mid_block_type": None}, 482_346_884),  # BK-SDM-Small
    ],
)
def test_bk_sdm_has_its_published_number_of_parameters(
    changes: dict[str, object], parameters: int
) -> None:
    inventory = take_inventory(unet_config({**SD_15, **changes}))
    assert inventory.parameters(inventory.full()) == parameters


def test_sdxl_and_its_pruned_relative_by_layers() -> None:
    """SDXL holds 70 transformer layers; SSD-1B nests their depths, and has 1.3 B parameters."""
    config = json.loads((CONFIGS / "sdxl.json").read_text())
    sdxl = take_inventory(unet_config(config), granularity="transformer_layer")
    assert sum(block.id.kind == TRANSFORMER_LAYER for block in sdxl.blocks) == 70
    assert sdxl.parameters(sdxl.full()) == 2_567_463_684

    nested = {
        "transformer_layers_per_block": [0, [2, 2], [4, 4]],
        "reverse_transformer_layers_per_block": [[4, 4, 10], [2, 1, 1], 0],
        "mid_block_type": "UNetMidBlock2D",
    }
    pruned = take_inventory(unet_config({**config, **nested}), granularity="transformer_layer")
    assert pruned.parameters(pruned.full()) == pytest.approx(1.3e9, rel=0.03)
    depths = [
        len(blocks) for site, blocks in pruned.full().sites.items() if site.kind == CROSS_ATTENTION
    ]
    assert depths == [2, 2, 4, 4, 4, 4, 10, 2, 1, 1]


def test_a_removed_layer_takes_its_share_of_the_block_away() -> None:
    """A block costs the same however its layers are counted; the last one takes it away whole."""
    config = unet_config({**SMALL, "transformer_layers_per_block": 3})
    by_block = take_inventory(config)
    by_layer = take_inventory(config, granularity="transformer_layer")
    assert by_layer.macs(by_layer.full()) == by_block.macs(by_block.full())
    attention = BlockId(CROSS_ATTENTION, "up.1", 1)
    layers = by_layer.full().sites[attention]
    fewer = unet_config({**SMALL, "transformer_layers_per_block": 2})
    shallower = take_inventory(fewer).by_id[attention].part
    [one_less] = [
        part
        for part in by_layer.parts(by_layer.full().without(layers[:1]))
        if part.name == str(attention)
    ]
    assert one_less == shallower
    without_block = by_block.full().without([attention])
    without_layers = by_layer.full().without(layers)
    assert by_layer.parameters(without_layers) == by_block.parameters(without_block)
    assert by_layer.macs(without_layers) == by_block.macs(without_block)


def test_macs_of_an_sd15_resnet_by_hand(sd15: Inventory) -> None:
    tokens, batch = 64 * 64, 2
    convolutions = 2 * 9 * 320 * 320 * tokens * batch
    time_projection = 1280 * 320 * batch
    part = sd15.by_id[BlockId(RESNET, "down.0", 0)].part
    assert part.macs == convolutions + time_projection
    assert part.parameters == 2 * (9 * 320 * 320 + 320) + 1280 * 320 + 320 + 2 * 2 * 320


def test_macs_of_an_sd15_cross_attention_by_hand(sd15: Inventory) -> None:
    c, tokens, batch, words, width = 320, 64 * 64, 2, 77, 768
    projections = 2 * c * c * tokens
    self_attention = 4 * c * c * tokens + 2 * tokens * tokens * c
    cross_attention = 2 * c * c * tokens + 2 * width * c * words + 2 * tokens * words * c
    feed_forward = (8 + 4) * c * c * tokens  # a gated layer: 4 c wide, twice
    part = sd15.by_id[BlockId(CROSS_ATTENTION, "down.0", 0)].part
    assert part.macs == batch * (projections + self_attention + cross_attention + feed_forward)


def test_what_a_removed_resnet_leaves(sd15: Inventory) -> None:
    changing = sd15.by_id[BlockId(RESNET, "down.1", 0)]
    assert changing.changes_shape
    assert changing.remainder is not None
    assert changing.remainder.macs == 320 * 640 * 32 * 32 * 2
    assert changing.remainder.parameters == 320 * 640 + 640
    assert not sd15.by_id[BlockId(RESNET, "down.1", 1)].changes_shape


def test_signatures_follow_batch_resolution_and_prompt() -> None:
    inventory = take_inventory(unet_config(SMALL), batch=3, height=16, width=8, context_length=9)
    attention = inventory.by_id[BlockId(CROSS_ATTENTION, "up.1", 2)].part.signature
    assert (attention.batch, attention.height, attention.width) == (3, 16, 8)
    assert (attention.context_length, attention.context_width, attention.heads) == (9, 12, 2)
    inner = inventory.by_id[BlockId(RESNET, "down.1", 0)].part.signature
    assert (inner.height, inner.width, inner.in_channels, inner.out_channels) == (8, 4, 8, 16)


def test_sample_size_is_the_default_resolution() -> None:
    config = unet_config({**SMALL, "sample_size": [16, 8]})
    block = take_inventory(config).blocks[0].part.signature
    assert (block.batch, block.height, block.width) == (2, 16, 8)


def test_macs_are_proportional_to_the_batch() -> None:
    one, four = (take_inventory(unet_config(SMALL), batch=batch) for batch in (1, 4))
    assert four.macs(four.full()) == 4 * one.macs(one.full())


def test_a_short_and_a_long_configuration_are_one() -> None:
    assert unet_config(SMALL) == unet_config(small_unet())
    assert unet_config(SD_15) == unet_config(dict(unet_config(SD_15).values))


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_parameters_of_any_architecture_are_those_of_its_unet(
    supernet: Supernet, data: st.DataObject
) -> None:
    inventory = supernet.inventory
    architecture = data.draw(architectures(inventory))
    standalone = materialize(supernet.unet, architecture)
    weights = sum(parameter.numel() for parameter in standalone.parameters())
    assert inventory.parameters(architecture) == weights
    assert inventory.macs(architecture) > 0


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_removing_saves_and_copying_costs(supernet: Supernet, data: st.DataObject) -> None:
    inventory = supernet.inventory
    architecture = data.draw(architectures(inventory))
    block = data.draw(st.sampled_from(inventory.blocks))
    without = architecture.with_multiplicity(block.id, 0)
    counts = [without, without.with_multiplicity(block.id, 1)]
    if not block.changes_shape:
        counts.append(without.with_multiplicity(block.id, 2))
    for less, more in pairwise(counts):
        assert inventory.parameters(less) < inventory.parameters(more)
        assert inventory.macs(less) < inventory.macs(more)
    needed = {part.signature for part in inventory.parts(architecture)}
    assert needed <= set(inventory.all_signatures())


def parts_of(inventory: Inventory) -> list[Part]:
    remainders = [block.remainder for block in inventory.blocks if block.remainder is not None]
    return [*inventory.fixed, *(block.part for block in inventory.blocks), *remainders]


@pytest.mark.parametrize("changes", [{}, {"use_linear_projection": True}], ids=str)
def test_a_signature_rebuilds_what_it_stands_for(changes: dict[str, object]) -> None:
    """A profiler that builds a block from its signature times what runs in the UNet."""
    inventory = take_inventory(unet_config({**SMALL, **changes}))
    for part in parts_of(inventory):
        module, _ = build_block(part.signature)
        weights = sum(parameter.numel() for parameter in module.parameters())
        assert weights == part.parameters, part.name


def test_fixed_parts_and_blocks_are_the_whole_unet(supernet: Supernet) -> None:
    inventory = supernet.inventory
    names = [part.name for part in inventory.fixed]
    assert names[:2] == ["time_embedding", "conv_in"]
    assert names[-1] == "conv_out"
    assert len(set(names)) == len(names)
    total = sum(parameter.numel() for parameter in supernet.unet.parameters())
    assert inventory.parameters(inventory.full()) == total


def test_an_architecture_of_another_base_is_refused(supernet: Supernet) -> None:
    other = take_inventory(unet_config({**SMALL, "layers_per_block": 1})).full()
    with pytest.raises(ArchitectureError, match="belongs to the base UNet"):
        supernet.inventory.parameters(other)


def test_an_architecture_lists_exactly_the_blocks_of_its_base(supernet: Supernet) -> None:
    full = supernet.full()
    missing = Architecture(full.base, full.blocks[1:])
    with pytest.raises(ArchitectureError, match=r"does not list 'resnet down\.0/0'"):
        supernet.inventory.check(missing)
    more = Architecture(full.base, (*full.blocks, (BlockId(RESNET, "up.9", 0), 1)))
    with pytest.raises(ArchitectureError, match=r"unknown block, 'resnet up\.9/0'"):
        supernet.inventory.check(more)


def test_smallest_keeps_only_shortcuts(supernet: Supernet) -> None:
    inventory = supernet.inventory
    left = [part for part in inventory.parts(inventory.smallest()) if part not in inventory.fixed]
    assert {part.signature.kind for part in left} == {"shortcut"}


def test_short_configurations_are_analysed_too() -> None:
    """Whatever diffusers fills in by itself need not be written."""
    inventory = take_inventory(UNetConfig.of(SMALL))
    assert len(inventory.blocks) == 18
