"""Out of memory: portions are halved until they fit, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from evaluators.evaluator import Evaluator, EvaluatorSpec
from evaluators.memory import Portions
from experiments.peak_memory import with_peak_gib
from supernet.architecture import Architecture

NO_ROOM = "[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory"


def squares(most: int) -> tuple[list[range], Callable[[range], Tensor]]:
    asked: list[range] = []

    def work(rows: range) -> Tensor:
        asked.append(rows)
        if len(rows) > most:
            raise RuntimeError(NO_ROOM)
        return torch.tensor([row**2 for row in rows])

    return asked, work


@given(count=st.integers(1, 40), size=st.integers(1, 16), most=st.integers(1, 16))
def test_all_rows_are_done_once_and_in_order(count: int, size: int, most: int) -> None:
    rows = range(3, 3 + count)
    assert Portions(size)(rows, squares(most)[1]).tolist() == [row**2 for row in rows]


def test_a_size_that_did_not_fit_is_not_tried_again() -> None:
    asked, work = squares(most=5)
    portions = Portions(16)
    portions(range(16), work)
    asked.clear()
    portions(range(16), work)
    assert {len(rows) for rows in asked} == {4}


def test_no_room_for_one_row_is_an_error() -> None:
    asked, work = squares(most=0)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        Portions(8)(range(8), work)
    assert [len(rows) for rows in asked] == [8, 4, 2, 1]


def test_the_error_of_a_gpu_is_known_too() -> None:
    def work(rows: range) -> Tensor:
        if len(rows) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return torch.zeros(1)

    assert len(Portions(4)(range(4), work)) == 4


def test_other_errors_are_not_taken_for_it() -> None:
    def work(rows: range) -> Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        Portions(4)(range(4), work)


def test_an_evaluator_goes_on_with_half_and_says_so(
    spec: EvaluatorSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluator = Evaluator(spec)
    full = evaluator.supernet.full()
    expected = evaluator.scores(full).first
    draw = evaluator._draw

    def draw_two(architecture: Architecture, rows: range) -> Tensor:
        if len(rows) > 2:
            raise RuntimeError(NO_ROOM)
        return draw(architecture, rows)

    monkeypatch.setattr(evaluator, "_draw", draw_two)
    for _ in range(2):
        assert evaluator.scores(full).first == pytest.approx(expected, abs=1e-5)
    (note,) = evaluator.notes
    assert "no memory for 4 pictures at a time; goes on with 2" in note


def score_some(spec: EvaluatorSpec, count: int) -> None:
    """Random architectures, each of them another one."""
    evaluator, random = Evaluator(spec), Random(0)
    full = evaluator.supernet.full()
    seen: set[str] = set()
    while len(seen) < count:
        architecture = full.without([block for block in full if random.random() < 0.4])
        if architecture.id not in seen:
            seen.add(architecture.id)
            evaluator.scores(architecture, range(2))


@pytest.mark.slow
def test_a_thousand_architectures_take_no_more_memory_than_a_hundred(spec: EvaluatorSpec) -> None:
    _, hundred = with_peak_gib(score_some, spec, 100)
    _, thousand = with_peak_gib(score_some, spec, 1000)
    assert thousand < 1.03 * hundred, f"{hundred:.3f} and {thousand:.3f} GiB"
