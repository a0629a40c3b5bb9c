"""Feature maps of a teacher and a student, and what the loss makes of them."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler
from small_unet import small_inputs, small_unet

from supernet.architecture import BlockId
from supernet.distillation import Distillation, feature_distance, predict
from supernet.loss import denoising_loss
from supernet.supernet import Supernet


def test_every_stage_hands_on_one_feature_map_whatever_blocks_it_lacks() -> None:
    supernet = Supernet(small_unet())
    inputs = small_inputs()
    expected, shapes = predict(supernet.unet, *inputs, with_features=True)
    assert torch.equal(expected, supernet.unet(*inputs).sample)
    assert {name: tuple(feature.shape) for name, feature in shapes.items()} == {
        "down.0": (2, 8, 4, 4),
        "down.1": (2, 16, 4, 4),
        "mid": (2, 16, 4, 4),
        "up.0": (2, 16, 8, 8),
        "up.1": (2, 8, 8, 8),
    }
    lacking = supernet.inventory.smallest()
    with supernet.running(lacking) as unet:
        _, found = predict(unet, *inputs, with_features=True)
    assert {name: f.shape for name, f in found.items()} == {n: f.shape for n, f in shapes.items()}


def test_a_unet_without_a_middle_has_stages_too() -> None:
    unet = small_unet(mid_block_type=None)
    _, features = predict(unet, *small_inputs(), with_features=True)
    assert list(features) == ["down.0", "down.1", "up.0", "up.1"]


def test_features_are_caught_only_where_they_are_asked_for() -> None:
    unet = small_unet()
    _, before = predict(unet, *small_inputs(), with_features=False)
    predict(unet, *small_inputs(), with_features=True)
    assert before == {}
    assert not any(module._forward_hooks for module in unet.modules())


def test_the_distance_is_relative_to_the_scale_of_each_stage() -> None:
    taught = {"down.0": torch.tensor([3.0, 4.0]), "mid": torch.tensor([300.0, 400.0])}
    assert feature_distance(taught, taught) == 0
    student = {"down.0": torch.tensor([3.0, 5.0]), "mid": torch.tensor([300.0, 200.0])}
    # (1 / 2) / (25 / 2) and (200² / 2) / (500² / 2)
    assert feature_distance(student, taught).item() == pytest.approx((0.04 + 0.16) / 2)


def test_the_loss_adds_the_weighted_distance() -> None:
    supernet, teacher = Supernet(small_unet()), small_unet(seed=3)
    x, _, prompt = small_inputs()
    smaller = supernet.full().without([BlockId.parse("cross_attention down.0/1")])

    def loss(features: float) -> torch.Tensor:
        with supernet.running(smaller) as unet:
            return denoising_loss(
                unet,
                x,
                prompt,
                DDIMScheduler(),
                torch.Generator().manual_seed(5),
                distillation=Distillation(teacher, output=1.0, features=features),
            )

    without, once, thrice = loss(0.0), loss(1.0), loss(3.0)
    assert once > without
    assert (thrice - without).item() == pytest.approx(3 * (once - without).item(), rel=1e-4)
    # An early block learns from the features after it, too.
    supernet.unet.requires_grad_(True)
    weight = supernet.unet.down_blocks[0].resnets[0].conv1.weight
    [alone] = torch.autograd.grad(loss(0.0), weight)
    [together] = torch.autograd.grad(loss(1.0), weight)
    assert not torch.allclose(alone, together, rtol=1e-2)
