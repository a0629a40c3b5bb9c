"""Two processes that share a training do what one does alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from small_training import close, losses_of, small_supernet, trained
from small_unet import small_unet
from torch import Tensor

from supernet.checkpoint import CheckpointError, load_tensors, save_tensors
from supernet.distributed import Workers

# Weight decay moves whatever has a gradient, and only that. The steps' sizes are kept small: AdamW
# divides by the size of a gradient, so that rounding decides the sign of the smallest ones.
COMMON: dict[str, Any] = {"steps": 3, "learning_rate": 1e-3, "weight_decay": 5.0}
RUNS: dict[str, dict[str, Any]] = {
    "batch": {"batch_size": 4, "dropping": {"keep_prob": (0.3, 0.8), "per": "batch"}},
    # Two pictures a process, rarely kept: one process has blocks that the other lacks.
    "sample": {"batch_size": 4, "dropping": {"keep_prob": 0.2, "per": "sample"}},
    "parts": {
        "batch_size": 8,
        "accumulation": 2,
        "dropping": {"keep_prob": 0.5, "sandwich": 1, "per": "batch"},
        "feature_distillation": 0.5,
    },
}


def run(name: str, folder: Path, rank: int) -> tuple[list[float], dict[str, Tensor]]:
    """One of the trainings; rank 0 of several starts from other weights than the rest."""
    options = {
        "checkpoint": folder / f"{name}.training.safetensors",
        "teacher": small_unet(9, layers_per_block=1).requires_grad_(False),
    }
    start = small_supernet(rank)
    return losses_of(supernet=start, options=options, **COMMON, **RUNS[name])


def work(rank: int, folder: Path) -> None:
    """What each process does; it leaves its losses, weights and refusals in the folder."""
    torch.set_num_threads(1)
    store = f"file://{folder / 'store'}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    found: dict[str, Any] = {}
    for name in RUNS:
        found[name], weights = run(name, folder, rank)
        save_tensors(folder / f"{name}.{rank}.safetensors", weights, {})
    try:
        trained(batch_size=3)
    except ValueError as refusal:
        found["refusal"] = str(refusal)
    try:  # rank 0 alone sees a checkpoint
        path = folder / ("batch.training.safetensors" if rank == 0 else "none.safetensors")
        trained(options={"checkpoint": path}, **COMMON, **RUNS["batch"])
    except CheckpointError as refusal:
        found["missing"] = str(refusal)
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of two processes that have shared the trainings."""
    folder = tmp_path_factory.mktemp("shared")
    mp.spawn(work, args=(folder,), nprocs=2)
    return folder


def found(shared: Path, rank: int) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((shared / f"{rank}.json").read_text())
    return values


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_train_as_one(shared: Path, tmp_path: Path, name: str) -> None:
    losses, alone = run(name, tmp_path, rank=0)
    first, second = (load_tensors(shared / f"{name}.{rank}.safetensors")[0] for rank in (0, 1))
    assert found(shared, 0)[name] == found(shared, 1)[name]
    assert found(shared, 0)[name] == pytest.approx(losses, rel=1e-4)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert close(first, alone, 1e-4)
    # The moments are of the same weights: what no picture has run is left alone.
    one, other = (
        load_tensors(folder / f"{name}.training.safetensors")[0] for folder in (shared, tmp_path)
    )
    assert one.keys() == other.keys()
    steps = [key for key in one if key.startswith("optimizer/step/")]
    assert all(torch.equal(one[key], other[key]) for key in steps)
    some_missed_a_step = len({one[key].item() for key in steps}) > 1
    assert some_missed_a_step == (name != "parts")  # a sandwich has the largest in every step


def test_a_batch_that_cannot_be_shared_is_refused(shared: Path) -> None:
    for rank in (0, 1):
        assert found(shared, rank)["refusal"] == (
            "a batch_size of 3 cannot be shared by 2 workers in 1 parts each; "
            "make it a multiple of 2"
        )


def test_a_checkpoint_that_one_worker_alone_sees_is_refused(shared: Path) -> None:
    for rank in (0, 1):
        assert "only some workers see it" in found(shared, rank)["missing"]


def test_a_process_alone_has_all_rows_and_its_own_gradients() -> None:
    workers = Workers.here()
    assert workers == Workers(rank=0, count=1)
    assert workers.share(range(4, 8)) == range(4, 8)
    weight = torch.nn.Parameter(torch.ones(2))
    workers.average_gradients([weight])
    assert weight.grad is None


def test_workers_take_turns_with_the_rows() -> None:
    shares = [Workers(rank, 3).share(range(6, 12)) for rank in range(3)]
    assert [list(each) for each in shares] == [[6, 9], [7, 10], [8, 11]]
