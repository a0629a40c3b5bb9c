"""How many evaluators fit on the nodes of a cluster."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators.placement import Placement


@pytest.mark.parametrize(
    ("placement", "spare_cpus", "room"),
    [
        (Placement(), 0, 24),
        (Placement(), 4, 20),
        (Placement(threads=3), 0, 7),  # 5 on one node and 2 on the other
        (Placement(gpus=0.25), 0, 8),
        (Placement(threads=4, gpus=0.25), 0, 4),  # 16 CPUs have room for so many
        (Placement(gpus=1), 0, 2),
        (Placement(gpus=2), 0, 1),
        (Placement(resources={"near_store": 0.5}), 0, 6),
        (Placement(resources={"elsewhere": 1}), 0, 0),
        (Placement(), 30, 0),
    ],
)
def test_room_is_what_all_that_an_evaluator_takes_leaves(
    placement: Placement, spare_cpus: int, room: int
) -> None:
    nodes = [{"CPU": 16.0, "GPU": 2.0, "memory": 1e9}, {"CPU": 8.0, "near_store": 3.0}]
    assert placement.room(nodes, spare_cpus) == room


@given(parts=st.integers(1, 100))
def test_a_gpu_has_room_for_all_its_shares(parts: int) -> None:
    node = {"CPU": 100.0, "GPU": 1.0}
    assert Placement(gpus=1 / parts).room([node], 0) == parts


def test_only_what_has_a_gpu_draws_there() -> None:
    assert [Placement().device, Placement(gpus=0.5).device] == ["cpu", "cuda"]
    assert Placement(gpus=0.5, resources={"a": 2}).bundle == {"CPU": 1.0, "GPU": 0.5, "a": 2}
    assert str(Placement(2, 0.5, {"a": 2})) == "2 threads and 0.5 GPU and 2 a"
