"""The controller on a toy whose truth is known: what it decides, and that it always ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_runs import ATTENTIONS, BASE_MS, FULL, INVENTORY, LATENCY, LEAST_MS, TRUTH, search
from toy_search import MemoryStore, ToySearch, Truth, by_size, toy_latency

from evaluators.latency import TableLatency
from latency_tables import BlockSignature
from search.action import Action, removals
from search.decision import Candidate
from search.demands import Demands
from search.evolution import apply_all
from search.settings import EvolutionSettings
from supernet.architecture import Architecture, BlockId

# --- whole searches


def check_search(run: ToySearch, found: Architecture) -> None:
    """What holds of every search that ends."""
    goal = run.settings
    assert run.latency(found) <= goal.target_ms
    assert run.load_state().decisions == run.told
    phases = [decision.phase for decision in run.told]
    assert phases.count("remove") <= goal.rounds
    assert phases == sorted(phases, reverse=True)
    added = [decision.executed for decision in run.told if decision.phase == "add"]
    assert goal.grow or not added
    assert all(added[:-1]), "only the last round of additions may find nothing"
    current = FULL
    for number, decision in enumerate(run.told, start=1):
        assert decision.round == number
        assert decision.before == current
        assert decision.after == apply_all(decision.taken, current)
        assert decision.latency_before_ms == run.latency(decision.before)
        assert decision.latency_after_ms == run.latency(decision.after)
        if decision.phase == "remove":
            assert [c.action for c in decision.candidates] == list(removals(current))
            assert decision.latency_after_ms <= goal.goal_ms(run.latency(FULL), number)
            assert decision.latency_after_ms < decision.latency_before_ms
        check_scores(run, decision.round, decision.candidates, current)
        if goal.recheck and decision.phase == "remove":
            for i, candidate in enumerate(decision.executed):
                group = apply_all(decision.taken[:i], current)
                check_scores(run, decision.round, [candidate], group)
        else:
            assert set(decision.executed) <= set(decision.candidates)
        current = decision.after
    assert found == current


def check_scores(
    run: ToySearch, round_: int, candidates: Sequence[Candidate], before: Architecture
) -> None:
    trained = 0.0 if run.constant_weights else 0.001 * round_
    truth = run.truth.scores
    for candidate in candidates:
        after = candidate.action.apply(before)
        mean_after = sum(truth(after)) / len(truth(after))
        mean_before = sum(truth(before)) / len(truth(before))
        assert candidate.clip == pytest.approx(mean_after + trained)
        assert candidate.delta_clip == pytest.approx(mean_after - mean_before)
        assert candidate.delta_latency_ms == run.latency(after) - run.latency(before)


@given(
    # Tenths of a ms, so that sums round; and targets that some architecture meets exactly.
    costs=st.lists(st.integers(1, 40), min_size=23, max_size=23),
    importance=st.lists(st.floats(-0.05, 0.2), min_size=12, max_size=12),
    removed=st.sets(st.sampled_from(list(FULL))),
    rounds=st.integers(1, 6),
    recheck=st.integers(0, 3),
    grow=st.booleans(),
)
@settings(deadline=None, max_examples=40)
def test_every_search_ends_at_its_target(
    tmp_path_factory: pytest.TempPathFactory,
    costs: list[int],
    importance: list[float],
    removed: set[BlockId],
    rounds: int,
    recheck: int,
    grow: bool,
) -> None:
    """Whatever blocks cost and are worth, in at most the rounds asked for and one of growing."""
    by_signature = dict(zip(INVENTORY.all_signatures(), costs, strict=True))
    latency = toy_latency(lambda signature: 0.1 * by_signature[signature])
    fastest = [block for block in FULL if latency.saved_by_removing(block) > 0]
    target_ms = max(latency(FULL.without(removed)), latency(FULL.without(fastest)))
    truth = Truth(dict(zip(FULL, importance, strict=True)))
    run = search(
        tmp_path_factory.mktemp("search"),
        truth,
        latency=latency,
        target_ms=target_ms,
        rounds=rounds,
        recheck=recheck,
        grow=grow,
    )
    check_search(run, run.run())


def test_additive_blocks_go_in_the_order_of_their_true_value(tmp_path: Path) -> None:
    run = search(tmp_path, Truth(TRUTH.importance, noise=0.0), rounds=1, grow=False)
    found = run.run()
    check_search(run, found)
    value = {block: TRUTH.importance[block] / LATENCY.saved_by_removing(block) for block in FULL}
    *order, last = [action.target for action in run.told[0].taken]
    assert [value[b] for b in order] == sorted(value.values())[: len(order)]
    too_slow = LATENCY(FULL.without(order)) - run.settings.target_ms
    assert too_slow > 0
    # The last one is that which closes the gap at the least loss, or per ms the best.
    left = [block for block in FULL if block not in order]
    loss = {
        block: TRUTH.importance[block] / min(LATENCY.saved_by_removing(block), too_slow)
        for block in left
    }
    assert loss[last] == min(loss.values())


@pytest.mark.parametrize(
    ("rounds", "recheck", "seen"), [(1, 0, False), (3, 0, True), (1, 1, True), (1, 2, True)]
)
def test_rounds_and_rechecks_see_what_one_sweep_cannot(
    tmp_path: Path, rounds: int, recheck: int, seen: bool
) -> None:
    """Two blocks that replace each other: either may go, both must not."""
    one, other = BlockId("cross_attention", "up.1", 0), BlockId("cross_attention", "up.1", 1)
    importance = dict.fromkeys(FULL, 0.05) | {one: 0.0, other: 0.0}
    truth = Truth(importance, together={frozenset({one, other}): 0.5})
    target_ms = BASE_MS - LATENCY.saved_by_removing(one) - LATENCY.saved_by_removing(other)
    run = search(tmp_path, truth, target_ms=target_ms, rounds=rounds, recheck=recheck, grow=False)
    found = run.run()
    check_search(run, found)
    assert len({one, other} & set(found.removed)) == (1 if seen else 2)
    if not seen:
        assert found.removed == (one, other)


@pytest.mark.parametrize("arrival", ["reversed", "rotated"])
def test_decisions_do_not_depend_on_the_order_of_answers(tmp_path: Path, arrival: str) -> None:
    orders = {
        "as asked": tuple,
        "reversed": lambda architectures: architectures[::-1],
        "rotated": lambda architectures: [*architectures[5:], *architectures[:5]],
    }
    files = []
    for name in ("as asked", arrival):
        folder = tmp_path / name
        folder.mkdir()
        search(folder, order=orders[name]).run()
        files.append((folder / "state.json").read_bytes())
    assert files[0] == files[1]


def test_nothing_is_evaluated_twice(tmp_path: Path) -> None:
    """With the weights unchanged, a later round asks only what no earlier one has."""
    run = search(tmp_path, rounds=3, constant_weights=True)
    check_search(run, run.run())
    assert len(run.evaluated) == len(set(run.evaluated)) == len(run.store.scores)
    first, second = run.told[:2]
    assert (second.before.id, "start") in run.evaluated
    assert second.clip_before == first.clip_after

    again = search(tmp_path / "..", store=run.store, rounds=3, constant_weights=True)
    again.folder = tmp_path / "again"
    again.folder.mkdir()
    again.run()
    assert again.evaluated == []
    assert again.told == run.told


def test_a_finished_search_does_nothing_more(tmp_path: Path) -> None:
    first = search(tmp_path)
    found = first.run()
    again = search(tmp_path, store=first.store)
    assert again.run() == found
    assert again.told == again.evaluated == []


def test_one_round_and_many_rounds_reach_the_same_target(tmp_path: Path) -> None:
    for rounds, most in ((1, 1), (100, len(FULL.blocks))):
        folder = tmp_path / str(rounds)
        folder.mkdir()
        run = search(folder, rounds=rounds, target_ms=LEAST_MS, grow=False)
        assert run.run() == INVENTORY.smallest()
        check_search(run, INVENTORY.smallest())
        assert len(run.told) <= most


# --- growing


def test_what_is_overshot_is_given_back(tmp_path: Path) -> None:
    """The last, big removal leaves room for a small block that is worth its time."""
    big, small = BlockId("cross_attention", "up.1", 0), BlockId("cross_attention", "mid", 0)
    assert LATENCY.saved_by_removing(big) > LATENCY.saved_by_removing(small)
    importance = dict.fromkeys(FULL, 1.0) | {small: 0.001, big: 0.01}
    target_ms = BASE_MS - LATENCY.saved_by_removing(small) - 1 / 8
    run = search(tmp_path, Truth(importance), target_ms=target_ms, rounds=1)
    found = run.run()
    check_search(run, found)
    assert [decision.taken for decision in run.told] == [
        (Action(-1, small), Action(-1, big)),
        (Action(1, small),),
    ]
    assert found.removed == (big,)


def test_growing_stops_at_what_cannot_be_told_from_zero(tmp_path: Path) -> None:
    doubtful = Truth(TRUTH.importance, dict.fromkeys(FULL, 0.001), noise=50.0)
    run = search(tmp_path, doubtful, target_ms=2 * BASE_MS)
    assert run.run() == FULL
    [decision] = run.told
    assert any(candidate.delta_clip > 0 for candidate in decision.candidates)
    assert decision.taken == ()
    assert decision.explain() == ["no action to add a block pays, nothing changed"]


def test_a_target_above_the_base_grows_at_once(tmp_path: Path) -> None:
    gains = dict.fromkeys(ATTENTIONS, 0.01)
    room = LATENCY.saved_by_removing(ATTENTIONS[0]) + 1 / 8
    run = search(tmp_path, Truth({}, gains), target_ms=BASE_MS + room)
    found = run.run()
    check_search(run, found)
    [decision] = run.told
    assert decision.phase == "add"
    copied = {block: found[block] for block in found.added}
    assert copied
    assert set(copied) <= set(ATTENTIONS)
    assert set(copied.values()) == {2}
    assert BASE_MS < LATENCY(found) <= BASE_MS + room


@pytest.mark.parametrize("grow", [True, False])
def test_a_target_met_at_the_start_without_room_changes_nothing(tmp_path: Path, grow: bool) -> None:
    run = search(tmp_path, target_ms=BASE_MS, grow=grow)
    assert run.run() == FULL
    assert run.told == run.evaluated == []


# --- targets that some architecture meets exactly, in milliseconds whose sums round


def test_no_block_more_or_less_goes_than_an_exact_target_asks(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    latency = toy_latency(lambda signature: 0.05 * by_size(signature))

    def taken(target_ms: float) -> tuple[Action, ...]:
        folder = tmp_path_factory.mktemp("search")
        run = search(folder, latency=latency, target_ms=target_ms, rounds=1, grow=False)
        run.run()
        [decision] = run.told
        return decision.taken

    everything = taken(latency(INVENTORY.smallest()))
    assert len(everything) == len(FULL.blocks)
    for n in range(1, len(everything)):
        assert taken(latency(apply_all(everything[:n], FULL))) == everything[:n]


@pytest.mark.parametrize("scale", [0.09, 0.13, 0.45])
def test_additions_fill_an_exact_target(tmp_path: Path, scale: float) -> None:
    latency = toy_latency(lambda signature: scale * by_size(signature))
    gains = dict.fromkeys(ATTENTIONS, 0.01)
    target_ms = latency(FULL.with_multiplicities(dict.fromkeys(ATTENTIONS, 2)))
    run = search(tmp_path, Truth({}, gains), latency=latency, target_ms=target_ms)
    found = run.run()
    check_search(run, found)
    assert found.added == tuple(ATTENTIONS)


# --- what is refused


def test_a_target_out_of_reach_is_refused_with_what_is_reachable(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"^latency on table 'toy': .* cannot be reached"
    ) as caught:
        search(tmp_path, target_ms=LEAST_MS - 1 / 8).run()
    assert f"{LEAST_MS - 1 / 8:.2f} ms" in str(caught.value)
    assert f"takes {math.ceil(100 * LEAST_MS) / 100} ms" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@given(st.floats(0.001, 3.0))
@settings(deadline=None, max_examples=30)
def test_the_target_that_a_refusal_names_is_accepted(scale: float) -> None:
    latency = toy_latency(lambda signature: scale * by_size(signature))
    with pytest.raises(ValueError, match="cannot be reached") as caught:
        Demands(latency, 1e-9)
    _, _, advice = str(caught.value).partition("still takes ")
    Demands(latency, float(advice.split(" ms")[0]))
    share = float(advice.split(" ms, ")[1].split(" ")[0])
    Demands(latency, share * latency(latency.inventory.full()))


def test_a_block_that_is_faster_than_its_shortcut_stays(tmp_path: Path) -> None:
    """Removing it would cost time: the fastest architecture is not the smallest one."""

    def cost(signature: BlockSignature) -> float:
        return 100.0 if signature.kind == "shortcut" else by_size(signature)

    latency = toy_latency(cost)
    kept = [block.id for block in INVENTORY.blocks if block.changes_shape]
    fastest = FULL.without(block for block in FULL if block not in kept)
    assert latency(fastest) < latency(INVENTORY.smallest())
    run = search(tmp_path, latency=latency, target_ms=latency(fastest), grow=False)
    assert run.run() == fastest
    check_search(run, fastest)
    with pytest.raises(ValueError, match="cannot be reached"):
        Demands(latency, latency(fastest) - 0.01)


def test_weights_that_have_diverged_are_told(tmp_path: Path) -> None:
    run = search(tmp_path, Truth({ATTENTIONS[0]: math.nan}))
    with pytest.raises(ValueError, match=r"round 1: .* lower training\.round\.learning_rate"):
        run.run()
    assert not run.state_path.exists()
    assert isinstance(run.store, MemoryStore)
    assert all(math.isfinite(s) for scores in run.store.scores.values() for s in scores)


@pytest.mark.parametrize("change", [{"target_ms": 0.0}, {"rounds": 0}, {"pace": 2}])
def test_settings_out_of_range_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        EvolutionSettings.model_validate({"target_ms": 10.0} | change)


def test_the_toy_table_is_a_table() -> None:
    """Everything above rests on exact sums."""
    assert isinstance(LATENCY, TableLatency)
    assert {LATENCY(FULL.without(FULL)) % 0.125, BASE_MS % 0.125} == {0.0}


# --- how far a round goes


@pytest.mark.parametrize("actions", [1, 2])
def test_a_round_executes_no_more_than_it_may(tmp_path: Path, actions: int) -> None:
    run = search(tmp_path, actions=actions, rounds=1, refine=8, grow=False)
    found = run.run()
    counts = [len(decision.taken) for decision in run.told]
    assert set(counts[:-1]) == {actions}
    assert 1 <= counts[-1] <= actions
    assert len(found.removed) == sum(counts)
    assert LATENCY(found) <= run.settings.target_ms


@pytest.mark.parametrize("recheck", [0, 2])
def test_a_round_costs_no_more_than_it_may_together(tmp_path: Path, recheck: int) -> None:
    pair = frozenset(ATTENTIONS[:2])
    truth = Truth(TRUTH.importance, together={pair: 0.05}, noise=0.0)
    run = search(tmp_path, truth, round_loss=0.02, rounds=1, recheck=recheck, grow=False)
    found = run.run()
    assert LATENCY(found) <= run.settings.target_ms
    assert len(run.told) > 1
    for decision in run.told:
        lost = decision.clip_before - decision.clip_after
        expected = -sum(c.delta_clip for c in decision.executed)
        assert len(decision.taken) == 1 or expected <= 0.02 * decision.clip_before
        if recheck:
            assert lost == pytest.approx(expected)


def test_a_search_ends_before_its_clip_score_falls_too_low(tmp_path: Path) -> None:
    (tmp_path / "free").mkdir()
    free = search(tmp_path / "free", rounds=4, grow=False)
    free.run()
    scores = [decision.clip_after for decision in free.told]
    least = (scores[1] + scores[2]) / 2
    (tmp_path / "bound").mkdir()
    bound = search(tmp_path / "bound", rounds=4, grow=False, min_clip=least)
    found = bound.run()
    assert bound.told == free.told[:2]
    assert found == free.told[1].after
    assert bound.evolution.stopped.startswith(f"round 3 would leave CLIP {scores[2]:.4f}")
    assert bound.load_state().decisions == bound.told
    again = search(tmp_path / "bound", rounds=4, grow=False, min_clip=least)
    assert again.run() == found
    assert again.told == []
