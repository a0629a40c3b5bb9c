"""Two processes that share a distillation of steps do what one does alone."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from test_step_training import distilled

from supernet.checkpoint import load_tensors, save_tensors

# Small steps: AdamW divides by the size of a gradient, so rounding decides the smallest signs.
SETTINGS = {"steps": 3, "learning_rate": 1e-4, "guided_share": 0.5, "original": 0.5}


def work(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder / 'store'}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    save_tensors(folder / f"{rank}.safetensors", distilled(**SETTINGS), {})
    dist.destroy_process_group()


def test_two_processes_distil_as_one(tmp_path: Path) -> None:
    mp.spawn(work, args=(tmp_path,), nprocs=2)
    first, second = (load_tensors(tmp_path / f"{rank}.safetensors")[0] for rank in (0, 1))
    alone = distilled(**SETTINGS)
    for name, weight in alone.items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], weight, rtol=0, atol=2e-5)
    unscaled = distilled(**SETTINGS, rescaled=False)
    assert any(not torch.allclose(unscaled[n], alone[n], atol=2e-5) for n in alone), (
        "the rescaling makes no difference here: nothing is tested"
    )
