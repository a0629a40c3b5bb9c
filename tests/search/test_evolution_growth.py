"""Groups of blocks, and copies that begin as the identity, in whole searches of the toy."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_runs import BASE_MS, FULL, INVENTORY, LATENCY, LEAST_MS, TRUTH, search
from toy_search import Truth

from search.action import Action
from supernet.architecture import Architecture, BlockId
from supernet.block_groups import find_group


def test_copies_that_begin_as_the_identity_are_worth_what_their_source_is(tmp_path: Path) -> None:
    """Algorithm 1: copies of the blocks with the largest values; nothing doubled is evaluated."""
    run = search(tmp_path, target_ms=1.5 * BASE_MS, growth="identity")
    found = run.run()
    [decision] = run.told
    lost = {c.action.target: c.delta_clip for c in decision.candidates}
    assert lost == pytest.approx({block: TRUTH.importance[block] for block in FULL}, rel=0.2)
    values = {b: TRUTH.importance[b] / (LATENCY(_twice(b)) - BASE_MS) for b in FULL}
    order = sorted(FULL, key=lambda block: -values[block])
    assert [action.target for action in decision.taken][:3] == order[:3]
    assert set(found.added) & {b.id for b in INVENTORY.blocks if b.changes_shape}
    assert decision.clip_after == decision.clip_before
    singles = {FULL.without([block]).id for block in FULL} | {FULL.id}
    assert {architecture for architecture, _ in run.evaluated} <= singles


def _twice(block: BlockId) -> Architecture:
    return FULL.with_multiplicity(block, 2)


def test_a_group_goes_at_once_where_it_is_worth_more_than_its_parts(tmp_path: Path) -> None:
    """Two blocks that only cost anything while the other is there."""
    group = find_group("pair resnet down.0/0", FULL)
    one, other = group.blocks
    half = dict.fromkeys(FULL, 0.5) | {one: 0.2, other: 0.2}
    truth = Truth(half, together={frozenset(group.blocks): -0.399})
    target_ms = BASE_MS - LATENCY.saved_by_removing(one) - LATENCY.saved_by_removing(other)
    for recheck in (0, 2):
        folder = tmp_path / str(recheck)
        folder.mkdir()
        options = {"target_ms": target_ms, "rounds": 1, "recheck": recheck, "grow": False}
        run = search(folder, truth, groups=("pair", "stage"), **options)
        assert run.run() == FULL.without(group.blocks)
        assert run.told[0].taken == (Action(-1, group),)
        assert run.load_state().decisions == run.told


@pytest.mark.parametrize("recheck", [0, 2])
def test_no_block_is_removed_twice_by_groups_that_share_it(tmp_path: Path, recheck: int) -> None:
    groups = ("stage", "layer", "pair")
    target_ms = LEAST_MS + 1 / 8
    run = search(tmp_path, groups=groups, recheck=recheck, target_ms=target_ms, rounds=1)
    found = run.run()
    assert LATENCY(found) <= target_ms
    current = FULL
    for action in run.told[0].taken:
        assert action.changes(current)
        current = action.apply(current)
    assert set(current.multiplicities.values()) <= {0, 1}
