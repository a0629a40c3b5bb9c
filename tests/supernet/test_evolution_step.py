"""Training goes on across an evolution step: moments and averages follow blocks that come and go.

Against the definition: two steps of AdamW before and two after, written down here on the numbers
of each block, with what a copy begins with taken from its source.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor
from small_training import (
    SMALLER,
    copied,
    small_supernet,
    trained,
    v_loss,
)
from small_unet import small_unet
from torch import Tensor

from supernet.architecture import CROSS_ATTENTION, RESNET, Architecture, BlockId
from supernet.checkpoint import load_tensors
from supernet.growth import Growth, grow
from supernet.materialize import materialize
from supernet.supernet import Supernet

REMOVED = BlockId(CROSS_ATTENTION, "up.1", 0)
DOUBLED = BlockId(RESNET, "mid", 0)
FOLLOWED = BlockId(RESNET, "up.1", 1)
RATE, BETAS, DECAY, EPSILON, CLIP, EMA = 1e-3, (0.9, 0.95), 0.01, 1e-8, 0.05, 0.3
SETTINGS: dict[str, Any] = {
    "steps": 2,
    "dropping": {"keep_prob": 1.0},
    "warmup_steps": 0,
    "schedule": "constant",
    "learning_rate": RATE,
    "adam_beta2": BETAS[1],
    "weight_decay": DECAY,
    "max_grad_norm": CLIP,
    "ema_decay": EMA,
}


def evolved(full: Architecture) -> Architecture:
    return full.with_multiplicities({REMOVED: 0, DOUBLED: 2, FOLLOWED: 2})


class ByHand:
    """AdamW (arXiv 1711.05101, Algorithm 2) and the average, on named numbers."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.weights = {name: value.clone() for name, value in weights.items()}
        self.first = {name: torch.zeros_like(value) for name, value in weights.items()}
        self.second = {name: torch.zeros_like(value) for name, value in weights.items()}
        self.steps = dict.fromkeys(weights, 0)
        self.average = {name: value.clone() for name, value in weights.items()}
        self.averaged = 0

    def inherit(self, name: str, source: str, silent: bool) -> None:
        """A copy's weight begins as its source's, or silent: no weight, no direction, its scale."""
        for of in (self.weights, self.first, self.average):
            of[name] = torch.zeros_like(of[source]) if silent else of[source].clone()
        self.second[name] = self.second[source].clone()
        self.steps[name] = self.steps[source]

    def step(self, gradients: dict[str, Tensor]) -> None:
        norm = (
            torch.stack([gradient.square().sum() for gradient in gradients.values()]).sum().sqrt()
        )
        for name, gradient in gradients.items():
            gradient = gradient * min(1.0, CLIP / (norm.item() + 1e-6))
            self.steps[name] += 1
            self.first[name] = BETAS[0] * self.first[name] + (1 - BETAS[0]) * gradient
            self.second[name] = BETAS[1] * self.second[name] + (1 - BETAS[1]) * gradient**2
            mean = self.first[name] / (1 - BETAS[0] ** self.steps[name])
            scale = (self.second[name] / (1 - BETAS[1] ** self.steps[name])).sqrt() + EPSILON
            self.weights[name] = self.weights[name] * (1 - RATE * DECAY) - RATE * mean / scale
        # diffusers' warm-up: the average's decay is (1 + n) / (10 + n) at first, and 0 at once.
        n = self.averaged
        decay = 0.0 if n == 0 else min((1 + n) / (10 + n), EMA)
        self.averaged += 1
        for name, value in self.weights.items():
            self.average[name] = decay * self.average[name] + (1 - decay) * value


def gradients(
    weights: dict[str, Tensor], architecture: Architecture, step: int, seed: int
) -> dict[str, Tensor]:
    """By name in the grown supernet, of a standalone UNet, which shares no code with running."""
    supernet = Supernet(small_unet(**SMALLER))
    grow(supernet.unet, architecture)
    supernet.unet.load_state_dict(weights)
    unet = materialize(supernet.unet, architecture).train()
    unet.set_attn_processor(AttnProcessor())
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    torch.rand((), generator=generator)  # the keep probability of this step
    v_loss(unet, step, generator).backward()
    found = {}
    for name, weight in unet.named_parameters():
        for block in architecture.added:
            path = ".".join(map(str, block.module_path))
            name = name.replace(f"{path}.0.", f"{path}.").replace(f"{path}.1.", f"{path}.copies.0.")
        found[name] = weight.grad
    return found


@pytest.mark.parametrize("growth", ["copy", "identity"])
def test_training_goes_on_across_an_evolution_step(tmp_path: Path, growth: Growth) -> None:
    supernet = small_supernet()
    full = supernet.full()
    after = evolved(full)
    by_hand = ByHand(copied(supernet))
    for step in range(2):
        by_hand.step(gradients(by_hand.weights, full, step, seed=5))

    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    trained(5, supernet, {"checkpoint": first}, **SETTINGS)
    grow(supernet.unet, after, growth)
    options = {"continue_from": first, "growth": growth, "checkpoint": second}
    trained(6, supernet, {**options, "architecture": after}, **SETTINGS)

    for block, last in ((DOUBLED, "conv2"), (FOLLOWED, "conv2")):
        path = ".".join(map(str, block.module_path)) + "."
        for name in [name for name in by_hand.weights if name.startswith(path)]:
            rest = name.removeprefix(path)
            silent = rest.startswith(last) and (growth == "identity" or block == FOLLOWED)
            if block == FOLLOWED and rest.startswith(("conv1", "norm1", "conv_shortcut")):
                continue
            by_hand.inherit(f"{path}copies.0.{rest}", name, silent)
    _take_over_what_does_not_fit(by_hand, supernet, first, growth)
    for step in range(2):
        by_hand.step(gradients(by_hand.weights, after, step, seed=6))

    state, _ = load_tensors(second)
    path = ".".join(map(str, REMOVED.module_path))
    removed = [name for name in by_hand.weights if name.startswith(path)]
    assert removed
    for name in by_hand.weights:
        assert state[f"optimizer/step/{name}"] == by_hand.steps[name]
        assert by_hand.steps[name] == (2 if name in removed else 4)
        for kind, expected in (
            ("weight", by_hand.weights),
            ("ema", by_hand.average),
            ("optimizer/exp_avg", by_hand.first),
            ("optimizer/exp_avg_sq", by_hand.second),
        ):
            torch.testing.assert_close(
                state[f"{kind}/{name}"], expected[name], rtol=2e-3, atol=2e-6, msg=f"{kind}/{name}"
            )


def _take_over_what_does_not_fit(
    by_hand: ByHand, supernet: Supernet, first: Path, growth: Growth
) -> None:
    """The follower's first convolution reads the channels of its source's, again from the first."""
    state, _ = load_tensors(first)
    path = ".".join(map(str, FOLLOWED.module_path))
    channels = supernet.unet.get_submodule(path).out_channels
    for rest in ("conv1.weight", "conv1.bias", "norm1.weight", "norm1.bias"):
        source, name = f"{path}.{rest}", f"{path}.copies.0.{rest}"

        def fitted(value: Tensor, rest: str = rest) -> Tensor:
            if rest == "conv1.weight":
                return torch.cat([value, value], dim=1)[:, :channels]
            return torch.cat([value, value])[:channels]

        by_hand.weights[name] = fitted(state[f"weight/{source}"])
        by_hand.average[name] = fitted(state[f"ema/{source}"])
        by_hand.first[name] = fitted(state[f"optimizer/exp_avg/{source}"])
        by_hand.second[name] = fitted(state[f"optimizer/exp_avg_sq/{source}"])
        by_hand.steps[name] = 2


def test_moments_that_start_anew_would_be_noticed(tmp_path: Path) -> None:
    """Without the state of the first training, the second one goes elsewhere."""
    ends = []
    for keeps in (True, False):
        supernet = small_supernet()
        trained(5, supernet, {"checkpoint": tmp_path / f"{keeps}.safetensors"}, **SETTINGS)
        options = {"continue_from": tmp_path / f"{keeps}.safetensors"} if keeps else {}
        ends.append(trained(6, supernet, options, **{**SETTINGS, "ema_decay": 0.0}))
    differences = [(ends[0][name] - ends[1][name]).abs().max() for name in ends[0]]
    assert max(differences) > 1e-4
