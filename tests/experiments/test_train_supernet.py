"""``evounet train supernet``: from the pipeline's own weights, or on from those given."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray
import torch
from in_process import Evounet

from experiments.models import supernet_weights
from supernet.checkpoint import load_tensors

QUICK = (
    "--set=pictures=1024",
    "--set=training.batch_size=2",
    "--set=training.learning_rate=1e-9",  # the weights stay what they were
)


def test_training_goes_on_from_given_weights(evounet: Evounet, tmp_path: Path) -> None:
    shipped, _ = load_tensors(supernet_weights("shapes"))

    def trained(name: str, *options: str) -> dict[str, torch.Tensor]:
        out = tmp_path / f"{name}.safetensors"
        answer = evounet("train", "supernet", "--out", out, *QUICK, *options)
        assert answer.code == 0, answer.err
        assert f"weights: {out}" in answer.out
        assert list(tmp_path.glob(f"{name}.training*")) == []
        return dict(load_tensors(out)[0])

    def distance(weights: dict[str, torch.Tensor]) -> float:
        differences = (weights[n].float() - shipped[n].float() for n in shipped)
        return max(each.abs().max().item() for each in differences)

    assert distance(trained("on", "--set=training.steps=1", "--start=shapes")) < 1e-3
    assert distance(trained("own", "--set=training.steps=0")) > 1e-2


@pytest.mark.parametrize("start", ["missing.safetensors", "README.md"])
def test_weights_that_are_none_are_refused(evounet: Evounet, tmp_path: Path, start: str) -> None:
    (tmp_path / "README.md").write_text("no weights")
    out = tmp_path / "out.safetensors"
    assert start in evounet.refused("train", "supernet", "--out", out, "--start", tmp_path / start)
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--set=workers=3", "--set=training.batch_size=4"), "of 4 cannot be shared by 3 workers"),
        (("--address=ray://head:1",), "--address: without workers of Ray"),
    ],
)
def test_workers_that_cannot_share_are_refused(
    evounet: Evounet, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    out = tmp_path / "out.safetensors"
    assert message in evounet.refused("train", "supernet", "--out", out, *options)
    assert not out.exists()
    assert not ray.is_initialized()
