"""Candidates and decisions: the value of an action, its uncertainty, and what people are told."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_search import toy_inventory

from evaluators.job import Scores
from search.action import Action
from search.decision import Candidate, Decision, SecondOpinion, score_action
from supernet.architecture import BlockId

FULL = toy_inventory().full()
ATTENTION = BlockId("cross_attention", "up.1", 1)
RESNET = BlockId("resnet", "mid", 0)
REMOVAL, ADDITION = Action(-1, ATTENTION), Action(1, RESNET)

finite = st.floats(-1e3, 1e3)
candidates = st.builds(
    Candidate,
    st.builds(Action, st.sampled_from([-1, 1]), st.sampled_from(list(FULL))),
    finite,
    finite,
    st.floats(0, 1e3),
    finite,
    st.integers(1, 99),
    st.integers(0, 99),
    st.none() | st.builds(SecondOpinion, finite, st.floats(0, 1e3)),
)


def removal(delta_clip: float, delta_latency_ms: float, error: float = 0.0001) -> Candidate:
    return Candidate(REMOVAL, 0.8 + delta_clip, delta_clip, error, delta_latency_ms, 16)


def addition(delta_clip: float, delta_latency_ms: float, error: float = 0.0001) -> Candidate:
    return Candidate(ADDITION, 0.8 + delta_clip, delta_clip, error, delta_latency_ms, 16)


def scored(
    action: Action, before: Sequence[float], after: Sequence[float], delta_ms: float
) -> Candidate:
    """As it is judged on all prompts, against what there is now."""
    now = Scores(tuple(before))
    return score_action(action, now, now, Scores(tuple(after)), delta_ms)


def test_value_is_clip_per_millisecond() -> None:
    assert removal(-0.002, -41.0).value == pytest.approx(0.002 / 41)
    assert addition(0.003, 6.0).value == pytest.approx(0.003 / 6)


def test_a_lower_value_is_the_better_removal() -> None:
    cheap, dear, useful = removal(-0.002, -40.0), removal(-0.004, -40.0), removal(0.001, -1.0)
    assert useful.value < 0 < cheap.value < dear.value
    assert removal(-0.002, -20.0).value > cheap.value


def test_a_higher_value_is_the_better_addition() -> None:
    assert addition(0.004, 5.0).value > addition(0.004, 8.0).value > addition(0.001, 8.0).value
    assert addition(-0.001, 5.0).value < 0


@pytest.mark.parametrize("make", [removal, addition])
@pytest.mark.parametrize("delta_clip", [-0.01, 0.01])
def test_the_value_at_no_latency_is_the_limit(
    make: Callable[[float, float], Candidate], delta_clip: float
) -> None:
    """Removing what saves nothing but loses CLIP is the worst of removals, not the best."""
    barely = make(0, 0).action.change * 1e-9
    for none in (0.0, -0.0):
        assert make(delta_clip, none).value == math.copysign(
            math.inf, make(delta_clip, barely).value
        )
    assert make(0.0, 0.0).value == 0


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=2, max_size=20))
@settings(deadline=None, max_examples=50)
def test_scores_are_compared_prompt_by_prompt(pairs: list[tuple[float, float]]) -> None:
    """Against torch's own mean and standard deviation of the paired differences."""
    before, after = torch.tensor(pairs, dtype=torch.float64).unbind(dim=1)
    candidate = scored(REMOVAL, before.tolist(), after.tolist(), -3.0)
    change = after - before
    assert candidate.clip == pytest.approx(after.mean().item(), abs=1e-12)
    assert candidate.delta_clip == pytest.approx(change.mean().item(), abs=1e-12)
    error = change.std(correction=1) / len(pairs) ** 0.5
    assert candidate.standard_error == pytest.approx(error.item(), abs=1e-12)
    assert (candidate.action, candidate.delta_latency_ms) == (REMOVAL, -3.0)


def test_what_all_prompts_share_is_no_uncertainty() -> None:
    """Pairing: the prompts differ by far more than the action changes any of them."""
    before = (0.1, 0.5, 0.9)
    candidate = scored(REMOVAL, before, tuple(score - 0.001 for score in before), -1.0)
    assert candidate.standard_error < 1e-9
    assert candidate.distinguishable


def test_distinguishable_is_beyond_two_sided_95_percent() -> None:
    assert removal(-0.0197, -1.0, error=0.01).distinguishable
    assert addition(0.0197, 1.0, error=0.01).distinguishable
    assert not removal(-0.0195, -1.0, error=0.01).distinguishable
    assert not removal(0.0, -1.0, error=0.0).distinguishable


def test_one_prompt_proves_nothing() -> None:
    candidate = scored(REMOVAL, [0.9], [0.1], -1.0)
    assert candidate.standard_error == math.inf
    assert not candidate.distinguishable


def test_scores_of_different_prompts_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        scored(REMOVAL, [0.9, 0.8], [0.1], -1.0)


@given(st.lists(candidates, min_size=1, max_size=5), finite, finite)
@settings(deadline=None, max_examples=50)
def test_a_decision_survives_json(scored: list[Candidate], clip: float, latency_ms: float) -> None:
    executed = (removal(-0.1, -1.0), Candidate(Action(-1, RESNET), 0.5, 0.0, 0.0, 0.0, 32))
    decision = Decision(
        round=3,
        phase="remove",
        weights="0123456789ab",
        before=FULL.with_multiplicity(RESNET, 2),
        clip_before=clip,
        latency_before_ms=latency_ms,
        candidates=(*scored, *executed),
        executed=executed,
        after=FULL.with_multiplicities({ATTENTION: 0}),
        clip_after=clip / 3,
        latency_after_ms=latency_ms / 7,
    )
    text = json.dumps(decision.to_json(), allow_nan=False)
    assert Decision.from_json(json.loads(text), FULL) == decision


def decide(phase: str, scored: tuple[Candidate, ...], executed: tuple[Candidate, ...]) -> Decision:
    after = FULL
    for candidate in executed:
        after = candidate.action.apply(after)
    return Decision(2, phase, "w", FULL, 0.8, 105.5, scored, executed, after, 0.7955, 64.5)


def test_a_removal_is_explained() -> None:
    other = Candidate(Action(-1, RESNET), 0.7, -0.1, 0.001, -1.0, 32)
    best = removal(-0.002, -41.0)
    decision = decide("remove", (other, best), (best,))
    assert decision.explain() == [
        "removed cross_attention up.1/1: -0.0020 ± 0.0002 CLIP (16 prompts) for -41.00 ms, "
        "value 4.88e-05 per ms",
        "together: CLIP 0.8000 -> 0.7955 (-0.0045; sum of single effects -0.0020), "
        "latency 105.50 -> 64.50 ms",
    ]


def test_an_explanation_names_doubt_and_keeps_the_order_of_choice() -> None:
    scored = (removal(0.001, -2.0, error=0.01), addition(0.003, 6.0))
    lines = decide("add", scored, scored[::-1]).explain()
    assert lines[0] == (
        "added resnet mid/0: +0.0030 ± 0.0002 CLIP (16 prompts) for +6.00 ms, value 5.00e-04 per ms"
    )
    assert lines[1].startswith(
        "removed cross_attention up.1/1: +0.0010 ± 0.0196 CLIP "
        "(16 prompts, not distinguishable from zero) for -2.00 ms"
    )
    assert "sum of single effects +0.0040" in lines[2]


def test_an_explanation_tells_alone_from_on_top_of_the_group() -> None:
    on_top = removal(-0.02, -41.0)
    line, together = decide("remove", (removal(-0.002, -41.0),), (on_top,)).explain()
    assert line.startswith(
        "removed cross_attention up.1/1: -0.0200 ± 0.0002 CLIP (16 prompts); alone -0.0020 for -41"
    )
    assert "sum of single effects -0.0020" in together


def test_a_round_without_action_is_explained() -> None:
    assert decide("add", (addition(-0.1, 6.0),), ()).explain() == [
        "no action to add a block pays, nothing changed"
    ]
