"""Limits besides the target: kept exactly, and refused where they cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_runs import BASE_MS, FULL, INVENTORY, LATENCY, LEAST_MS, TRUTH, search
from toy_search import by_size, toy_latency

from latency_tables import BlockSignature
from search.demands import Demands, Limit, count_limits, latency_limit
from supernet.activations import PeakActivations
from supernet.architecture import Architecture

HALF_MS = (BASE_MS + LEAST_MS) / 2
BASE_M = INVENTORY.parameters(FULL) / 1e6
LEAST_M = INVENTORY.parameters(INVENTORY.smallest()) / 1e6


def attention_is_dear(signature: BlockSignature) -> float:
    return (10 if signature.kind == "cross_attention" else 1) * by_size(signature)


OTHER = toy_latency(attention_is_dear)

architectures = st.lists(st.integers(0, 2), min_size=12, max_size=12).map(
    lambda counts: FULL.with_multiplicities(dict(zip(FULL, counts, strict=True)))
)
shares = st.floats(0.05, 1.2)


def limits(by_other: float, by_parameters: float) -> tuple[Limit, ...]:
    least, base = OTHER(INVENTORY.smallest()), OTHER(FULL)
    other = latency_limit(OTHER, least + by_other * (base - least))
    parameters = LEAST_M + by_parameters * (BASE_M - LEAST_M)
    return (other, *count_limits(INVENTORY, parameters=1e6 * parameters))


@given(architectures)
def test_a_target_alone_is_the_table_s_latency(architecture: Architecture) -> None:
    assert Demands(LATENCY, HALF_MS)(architecture) == LATENCY(architecture)


@given(architectures, shares, shares, shares)
def test_all_limits_are_kept_exactly_where_the_target_is(
    architecture: Architecture, by_table: float, by_other: float, by_parameters: float
) -> None:
    target_ms = LEAST_MS + by_table * (BASE_MS - LEAST_MS)
    demands = Demands(LATENCY, target_ms, limits(by_other, by_parameters))
    kept = all(limit.measure(architecture) <= limit.at_most for limit in demands.limits)
    assert demands.met(architecture) == kept
    assert (demands(architecture) <= target_ms) == kept


@given(architectures, st.sampled_from(list(FULL)), shares, shares)
def test_less_is_never_worse(
    architecture: Architecture, block: object, by_other: float, by_parameters: float
) -> None:
    demands = Demands(LATENCY, HALF_MS, limits(by_other, by_parameters))
    fewer = architecture.without([block])
    if all(limit.measure(fewer) <= limit.measure(architecture) for limit in demands.limits):
        assert demands(fewer) <= demands(architecture)


@pytest.mark.parametrize("strategy_rounds", [1, 3])
@pytest.mark.parametrize(("by_other", "by_parameters"), [(0.3, 1.2), (1.2, 0.3), (0.4, 0.4)])
def test_a_search_keeps_to_every_limit(
    tmp_path: Path, by_other: float, by_parameters: float, strategy_rounds: int
) -> None:
    wanted = limits(by_other, by_parameters)
    run = search(
        tmp_path, TRUTH, target_ms=0.9 * BASE_MS, rounds=strategy_rounds, limits=wanted, refine=4
    )
    found = run.run()
    assert LATENCY(found) <= 0.9 * BASE_MS
    for limit in wanted:
        assert limit.measure(found) <= limit.at_most
    assert run.told[0].latency_before_ms == BASE_MS
    assert run.told[-1].latency_after_ms == LATENCY(found)


def test_activations_that_several_blocks_exceed_are_brought_down_by_all_of_them(
    tmp_path: Path,
) -> None:
    peak = PeakActivations(INVENTORY)
    most = (peak(INVENTORY.smallest()) + peak(FULL)) // 2
    above = [block for block in FULL if peak(FULL.without([block])) > most]
    assert above == list(FULL), "one removal is enough: nothing is tested"
    wanted = tuple(count_limits(INVENTORY, activations=most))
    found = search(tmp_path, TRUTH, target_ms=BASE_MS, rounds=2, limits=wanted, refine=4).run()
    assert peak(found) <= most


@settings(deadline=None)
@given(st.floats(0.01, 0.99))
def test_what_cannot_be_kept_is_refused_with_what_can(share: float) -> None:
    with pytest.raises(ValueError, match=r"parameters: .* cannot be reached") as caught:
        Demands(LATENCY, HALF_MS, tuple(count_limits(INVENTORY, parameters=share * LEAST_M * 1e6)))
    _, _, advice = str(caught.value).partition("still takes ")
    nearest = float(advice.split(" M")[0])
    Demands(LATENCY, HALF_MS, tuple(count_limits(INVENTORY, parameters=nearest * 1e6)))


def test_limits_that_exclude_each_other_are_refused() -> None:
    def backwards(signature: BlockSignature) -> float:
        return 100.0 if signature.kind == "shortcut" else by_size(signature)

    odd = toy_latency(backwards)
    without_attention = latency_limit(odd, odd(odd.fastest()))
    smallest = count_limits(INVENTORY, parameters=1e6 * LEAST_M)
    with pytest.raises(ValueError, match="no architecture was found that keeps to all"):
        Demands(LATENCY, BASE_MS, (without_attention, *smallest))
