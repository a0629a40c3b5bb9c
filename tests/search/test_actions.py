"""The action set A: its text, what an action does, and which actions there are."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_search import toy_inventory

from search.action import Action, additions, removals
from supernet.architecture import Architecture, ArchitectureError, BlockId
from supernet.block_groups import block_groups, find_group

INVENTORY = toy_inventory()
FULL = INVENTORY.full()
SHAPE_CHANGING = {block.id for block in INVENTORY.blocks if block.changes_shape}

blocks = st.sampled_from(list(FULL))
architectures = st.builds(
    lambda counts: FULL.with_multiplicities(dict(zip(FULL, counts, strict=True))),
    st.tuples(*(st.integers(0, 1 if block in SHAPE_CHANGING else 2) for block in FULL)),
)


@given(blocks, st.sampled_from([-1, 1]))
@settings(deadline=None, max_examples=25)
def test_an_action_reads_back_from_its_text(block: BlockId, change: int) -> None:
    action = Action(change, block)
    assert Action.parse(str(action), FULL) == action


def test_an_action_as_text() -> None:
    assert str(Action(-1, BlockId("cross_attention", "down.0", 1))) == "-cross_attention down.0/1"
    assert str(Action(1, BlockId("resnet", "mid", 0))) == "+resnet mid/0"


@pytest.mark.parametrize("text", ["", "resnet mid/0", "*resnet mid/0", "-resnt mid/0", "-mid"])
def test_text_that_is_no_action_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text.lstrip("-") or "not an action")):
        Action.parse(text, FULL)


@pytest.mark.parametrize("change", [0, 2, -2])
def test_an_action_changes_by_one(change: int) -> None:
    with pytest.raises(ValueError, match=rf"adds \(\+1\) or removes \(-1\), not {change}"):
        Action(change, BlockId("resnet", "mid", 0))


@given(architectures)
@settings(deadline=None, max_examples=50)
def test_the_action_set_is_every_legal_step_and_no_other(architecture: Architecture) -> None:
    """Against its definition: remove what is there, add back or copy what can be."""
    removable = [block for block, count in architecture.blocks if count >= 1]
    addable = [
        block
        for block, count in architecture.blocks
        if count == 0 or (count == 1 and block not in SHAPE_CHANGING)
    ]
    assert list(removals(architecture)) == [Action(-1, block) for block in removable]
    assert list(additions(architecture, INVENTORY)) == [Action(1, block) for block in addable]
    for action in (*removals(architecture), *additions(architecture, INVENTORY)):
        after = action.apply(architecture)
        INVENTORY.check(after)
        changed = {b: after[b] - architecture[b] for b in FULL if after[b] != architecture[b]}
        assert changed == {action.target: action.change}


@given(architectures)
@settings(deadline=None, max_examples=25)
def test_adding_undoes_removing(architecture: Architecture) -> None:
    for action in removals(architecture):
        back = Action(1, action.target)
        assert back in list(additions(action.apply(architecture), INVENTORY))
        assert back.apply(action.apply(architecture)) == architecture


def test_nothing_can_be_removed_twice() -> None:
    removal = Action(-1, BlockId("resnet", "mid", 0))
    with pytest.raises(ValueError, match="-resnet mid/0: all of it is gone already"):
        removal.apply(removal.apply(FULL))


def test_an_unknown_block_is_refused_by_name() -> None:
    with pytest.raises(ArchitectureError, match="no block 'resnet mid/7'; there are: resnet mid/0"):
        Action(-1, BlockId("resnet", "mid", 7)).apply(FULL)


def test_a_group_acts_on_all_of_its_blocks_that_it_can() -> None:
    """Removing takes one of each that is there, adding gives one to each that can have another."""
    group = find_group("layer down.0/0", FULL)
    resnet, attention = group.blocks
    removal, addition = Action(-1, group), Action(1, group)
    assert str(removal) == "-layer down.0/0"
    assert Action.parse(str(removal), FULL) == removal
    assert removal.apply(FULL) == FULL.without([resnet, attention])
    half = FULL.without([resnet])
    assert removal.apply(half) == FULL.without([resnet, attention])
    assert addition.apply(half) == FULL.with_multiplicity(attention, 2)
    assert addition.brings_back(FULL.without(group.blocks))
    assert not addition.brings_back(half)
    gone = FULL.without([resnet, attention])
    with pytest.raises(ValueError, match=r"-layer down\.0/0: all of it is gone already"):
        removal.apply(gone)


def test_groups_are_offered_where_they_do_more_than_a_single_block() -> None:
    groups = [g for each in ("stage", "layer", "pair") for g in block_groups(FULL, each)]
    assert [a.target for a in removals(FULL, groups) if a.target in groups] == groups
    emptied = FULL.without(b for group in groups[:1] for b in group.blocks[1:])
    offered = [action.target for action in removals(emptied, groups)]
    assert groups[0] not in offered
    assert set(emptied.multiplicities) - set(emptied.removed) <= set(offered)


def test_what_changes_channels_grows_only_where_copies_begin_as_the_identity() -> None:
    copied = {action.target for action in additions(FULL, INVENTORY)}
    assert copied == set(FULL) - SHAPE_CHANGING
    grown = {action.target for action in additions(FULL, INVENTORY, growth="identity")}
    assert grown == set(FULL)
    groups = list(block_groups(FULL, "stage"))
    offered = {action.target for action in additions(FULL, INVENTORY, groups)} - set(FULL)
    assert offered == {group for group in groups if not SHAPE_CHANGING & set(group.blocks)}
