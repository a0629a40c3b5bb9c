"""Blocks and architectures as values: text, order, identity and bad input."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supernet.architecture import (
    CROSS_ATTENTION,
    RESNET,
    SITE_KINDS,
    TRANSFORMER_LAYER,
    Architecture,
    ArchitectureError,
    BlockId,
    UNetConfig,
)

relaxed = settings(deadline=None, max_examples=50)

BASE = UNetConfig.of({"sample_size": 8, "block_out_channels": (8, 16)})
RESNET_0 = BlockId(RESNET, "down.0", 0)
ATTENTION_0 = BlockId(CROSS_ATTENTION, "down.0", 0)
MID = BlockId(RESNET, "mid", 0)

stages = st.one_of(
    st.just("mid"), st.builds("{}.{}".format, st.sampled_from(["down", "up"]), st.integers(0, 12))
)
places = st.integers(0, 12)
block_ids = st.one_of(
    st.builds(BlockId, st.sampled_from(SITE_KINDS), stages, places),
    st.builds(BlockId, st.just(TRANSFORMER_LAYER), stages, places, places),
)
architectures = st.dictionaries(block_ids, st.integers(0, 4), max_size=12).map(
    lambda counts: Architecture(BASE, tuple(sorted(counts.items())))
)


def architecture(*counts: int) -> Architecture:
    return Architecture(BASE, tuple(zip((RESNET_0, ATTENTION_0, MID), counts, strict=True)))


@relaxed
@given(block_ids)
def test_a_block_survives_its_text_form(block: BlockId) -> None:
    assert BlockId.parse(str(block)) == block


def test_the_text_form_of_a_block() -> None:
    assert str(BlockId(CROSS_ATTENTION, "down.0", 1)) == "cross_attention down.0/1"
    assert str(MID) == "resnet mid/0"
    assert str(BlockId(TRANSFORMER_LAYER, "up.0", 2, 9)) == "transformer_layer up.0/2.9"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "resnet",
        "resnet down.0",
        "resnet down.0/1.0",
        "cross_attention mid/0.3",
        "transformer_layer mid/0",
        "transformer_layer mid/0.01",
        "resnet down.0/",
        "resnet down.0/-1",
        "resnet down.0/01",
        "resnet down.00/1",
        "resnet down/1",
        "resnet mid.0/1",
        "resnet side.0/1",
        "resnet down.0/1 ",
        "resnet down.٣/1",
        "conv down.0/1",
        "ResNet down.0/1",
    ],
)
def test_what_is_no_block_is_refused(text: str) -> None:
    with pytest.raises(ArchitectureError):
        BlockId.parse(text)


@pytest.mark.parametrize("index", [-1, True, 1.0, "1"])
def test_a_block_needs_a_whole_index(index: Any) -> None:
    with pytest.raises(ArchitectureError, match="index of a block"):
        BlockId(RESNET, "mid", index)


def test_blocks_sort_in_forward_order() -> None:
    forward = [
        "resnet down.0/0",
        "cross_attention down.0/0",
        "resnet down.0/1",
        "resnet down.2/0",
        "resnet down.10/0",
        "resnet mid/0",
        "cross_attention mid/0",
        "resnet mid/1",
        "resnet up.0/0",
        "cross_attention up.0/0",
        "resnet up.0/1",
    ]
    shuffled = sorted(forward)  # as text, down.10 comes before down.2
    assert shuffled != forward
    assert [str(block) for block in sorted(map(BlockId.parse, shuffled))] == forward


@relaxed
@given(block_ids, block_ids)
def test_the_order_of_blocks_is_total(one: BlockId, other: BlockId) -> None:
    assert (one < other) + (one == other) + (one > other) == 1
    assert (one <= other) == (one < other or one == other)


@relaxed
@given(architectures)
def test_an_architecture_survives_json(architecture: Architecture) -> None:
    again = Architecture.from_json(json.loads(json.dumps(architecture.to_json())))
    assert again == architecture
    assert (hash(again), again.id) == (hash(architecture), architecture.id)


@relaxed
@given(architectures, architectures)
def test_ids_tell_architectures_apart(one: Architecture, other: Architecture) -> None:
    assert (one.id == other.id) == (one == other)


def test_an_id_is_the_same_anywhere() -> None:
    text = (
        '{"block_out_channels":[8,16],"sample_size":8}'
        "resnet down.0/0=0,cross_attention down.0/0=1,resnet mid/0=2"
    )
    assert architecture(0, 1, 2).id == hashlib.sha256(text.encode()).hexdigest()[:10]


def test_an_id_depends_on_the_base() -> None:
    other = Architecture(UNetConfig.of({"sample_size": 16}), architecture(1, 1, 1).blocks)
    assert other.id != architecture(1, 1, 1).id


def test_equal_configurations_are_equal_in_any_order_and_without_private_entries() -> None:
    same = UNetConfig.of(
        {"_class_name": "UNet2DConditionModel", "block_out_channels": [8, 16], "sample_size": 8}
    )
    assert same == BASE
    assert same.digest == BASE.digest
    assert UNetConfig.of({"sample_size": 16}).digest != BASE.digest


def test_changing_an_architecture_gives_another() -> None:
    full = architecture(1, 1, 1)
    changed = full.with_multiplicities({RESNET_0: 0, MID: 3})
    assert changed == architecture(0, 1, 3)
    assert full == architecture(1, 1, 1)
    assert changed.removed == (RESNET_0,)
    assert changed.added == (MID,)
    assert changed[MID] == 3
    assert full.with_multiplicity(MID, 2) == architecture(1, 1, 2)
    assert full.without([RESNET_0, MID]) == architecture(0, 1, 0)
    assert list(full) == [RESNET_0, ATTENTION_0, MID]


def test_an_unknown_block_is_named_with_those_that_there_are() -> None:
    full = architecture(1, 1, 1)
    unknown = BlockId(RESNET, "down.0", 7)
    message = "no block 'resnet down.0/7'; there are: resnet down.0/0, cross_attention down.0/0"
    for ask in (
        lambda: full[unknown],
        lambda: full.with_multiplicity(unknown, 0),
        lambda: full.without([unknown]),
    ):
        with pytest.raises(ArchitectureError, match=message):
            ask()
    with pytest.raises(ArchitectureError, match=r"'resnet up\.9/0'; there are: down\.0, mid"):
        full[BlockId(RESNET, "up.9", 0)]


@pytest.mark.parametrize("count", [-1, True, False, 1.0, "1", None])
def test_a_multiplicity_is_a_whole_number(count: Any) -> None:
    message = "multiplicity of resnet mid/0 is .*: use a whole number, 0 or more"
    with pytest.raises(ArchitectureError, match=message):
        architecture(1, 1, 1).with_multiplicity(MID, count)
    with pytest.raises(ArchitectureError, match=message):
        Architecture.from_json({"base": {}, "blocks": {"resnet mid/0": count}})


@pytest.mark.parametrize("field", ["base", "blocks"])
@pytest.mark.parametrize("value", [None, [], "text", 3])
def test_malformed_json_names_the_field(field: str, value: Any) -> None:
    whole = architecture(1, 1, 1).to_json()
    for damaged in ({**whole, field: value}, {k: v for k, v in whole.items() if k != field}):
        with pytest.raises(ArchitectureError, match=f"'{field}'"):
            Architecture.from_json(damaged)


def test_a_malformed_block_in_json_is_named() -> None:
    with pytest.raises(ArchitectureError, match="not a block: 'resnet'"):
        Architecture.from_json({"base": {}, "blocks": {"resnet": 1}})


def test_blocks_are_unique_and_in_forward_order() -> None:
    for blocks in (((MID, 1), (RESNET_0, 1)), ((MID, 1), (MID, 0))):
        with pytest.raises(ArchitectureError, match="unique and in forward order"):
            Architecture(BASE, blocks)
