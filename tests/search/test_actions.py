"""The action set A: its text, what an action does, and which actions there are."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_search import toy_inventory

from search.action import Action, additions, removals
from supernet.architecture import Architecture, ArchitectureError, BlockId

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
