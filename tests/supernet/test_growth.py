"""Copies behind their source: what they compute at first, own, and take over of a training."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from small_unet import small_inputs, small_unet
from torch import Tensor, nn

from supernet.architecture import (
    CROSS_ATTENTION,
    RESNET,
    TRANSFORMER_LAYER,
    Architecture,
    BlockId,
)
from supernet.growth import Growth, copies_of, grow, inherit, load_weights, new_copy
from supernet.materialize import materialize
from supernet.supernet import Supernet
from supernet.unet_blocks import find_block

ATTENTION = BlockId(CROSS_ATTENTION, "up.1", 1)
MID = BlockId(RESNET, "mid", 0)
NARROWING = BlockId(RESNET, "up.1", 0)
WIDENING = BlockId(RESNET, "down.1", 0)
INPUTS = small_inputs()


@pytest.fixture
def own() -> Supernet:
    """A supernet that a test may change."""
    return Supernet(small_unet())


def predict(unet: UNet2DConditionModel) -> Tensor:
    with torch.no_grad():
        output: Tensor = unet(*INPUTS).sample
    return output


def run(supernet: Supernet, architecture: Architecture) -> Tensor:
    with supernet.running(architecture) as unet:
        return predict(unet)


@pytest.mark.parametrize("block", [MID, ATTENTION])
def test_a_copy_computes_at_first_what_its_source_does(own: Supernet, block: BlockId) -> None:
    doubled = own.full().with_multiplicity(block, 2)
    shared = run(own, doubled)
    grow(own.unet, doubled)
    assert torch.equal(run(own, doubled), shared)
    assert not torch.equal(run(own, own.full()), shared)


@pytest.mark.parametrize("block", [MID, ATTENTION, NARROWING, WIDENING])
def test_a_copy_that_begins_as_the_identity_changes_nothing(own: Supernet, block: BlockId) -> None:
    before = predict(own.unet)
    doubled = own.full().with_multiplicity(block, 2)
    grow(own.unet, doubled, "identity")
    torch.testing.assert_close(run(own, doubled), before, rtol=0, atol=1e-6)
    [added] = copies_of(find_block(own.unet, block))
    with torch.no_grad():
        for weight in added.parameters():
            weight.add_(0.1)
    assert not torch.allclose(run(own, doubled), before, atol=1e-3)


@pytest.mark.parametrize("growth", ["copy", "identity"])
def test_a_transformer_layer_grows_too(growth: Growth) -> None:
    own = Supernet(small_unet(transformer_layers_per_block=3), "transformer_layer")
    before = predict(own.unet)
    layer = BlockId(TRANSFORMER_LAYER, "up.1", 1, 2)
    doubled = own.full().with_multiplicity(layer, 2)
    grow(own.unet, doubled, growth)
    unchanged = torch.allclose(run(own, doubled), before, atol=1e-6)
    assert unchanged == (growth == "identity")


@pytest.mark.parametrize("block", [NARROWING, WIDENING])
def test_what_follows_a_resnet_that_changes_channels_has_equal_ones(
    own: Supernet, block: BlockId
) -> None:
    source = find_block(own.unet, block)
    follower = new_copy(source)
    assert (
        follower.in_channels == follower.out_channels == source.out_channels != source.in_channels
    )
    assert follower.conv_shortcut is None
    hidden_states, temb = torch.randn(2, source.out_channels, 4, 4), torch.randn(2, 32)
    assert torch.equal(follower(hidden_states, temb), hidden_states)
    for name in ("norm2", "time_emb_proj"):  # what fits is taken over
        assert torch.equal(getattr(follower, name).weight, getattr(source, name).weight)


def test_copies_leave_the_names_and_the_function_of_the_stock_unet(own: Supernet) -> None:
    stock, before = list(own.unet.state_dict()), predict(own.unet)
    grow(own.unet, own.full().with_multiplicities({MID: 3, NARROWING: 2}))
    names = list(own.unet.state_dict())
    assert [name for name in names if ".copies." not in name] == stock
    prefix = "mid_block.resnets.0.copies"
    assert {f"{prefix}.0.conv1.weight", f"{prefix}.1.conv1.weight"} < set(names)
    assert torch.equal(predict(own.unet), before)


def test_growing_again_adds_what_is_missing_alone(own: Supernet) -> None:
    grow(own.unet, own.full().with_multiplicity(MID, 2))
    with torch.no_grad():
        find_block(own.unet, MID).copies[0].conv1.weight.zero_()
    grow(own.unet, own.full().with_multiplicity(MID, 3))
    first, second = copies_of(find_block(own.unet, MID))
    assert not first.conv1.weight.any()
    assert torch.equal(second.conv1.weight, find_block(own.unet, MID).conv1.weight)
    assert not copies_of(first)


def test_owned_copies_run_and_stand_alone(own: Supernet) -> None:
    architecture = own.full().with_multiplicities({MID: 2, NARROWING: 2, ATTENTION: 0})
    grow(own.unet, architecture)
    with torch.no_grad():
        for block in (MID, NARROWING):
            for weight in copies_of(find_block(own.unet, block))[0].parameters():
                weight.mul_(0.5).add_(0.01)
    standalone = materialize(own.unet, architecture)
    assert (predict(standalone) - run(own, architecture)).abs().max() <= 1e-5
    assert ".copies." not in " ".join(standalone.state_dict())


def test_weights_of_a_grown_supernet_load_into_any_other(own: Supernet) -> None:
    architecture = own.full().with_multiplicities({MID: 3, NARROWING: 2})
    plain = {name: value.clone() for name, value in own.unet.state_dict().items()}
    grow(own.unet, architecture)
    with torch.no_grad():
        for weight in own.unet.parameters():
            weight.add_(0.01)
    grown = {name: value.clone() for name, value in own.unet.state_dict().items()}
    other = Supernet(small_unet(seed=1))
    grow(other.unet, own.full().with_multiplicities({MID: 2, ATTENTION: 2}))
    load_weights(other.unet, grown)
    assert list(other.unet.state_dict()) == list(grown)
    assert torch.equal(run(other, architecture), run(own, architecture))
    load_weights(other.unet, plain)
    assert list(other.unet.state_dict()) == list(plain)


def test_weights_of_another_unet_are_refused(own: Supernet) -> None:
    with pytest.raises(RuntimeError, match=r"size mismatch|Missing key"):
        load_weights(own.unet, small_unet(layers_per_block=1).state_dict())


def state_of(unet: UNet2DConditionModel) -> dict[str, Tensor]:
    """A training's state with numbers that tell everything in it apart."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, weight in unet.named_parameters():
        state[f"weight/{name}"] = weight.detach().clone()
        for kind in ("ema", "optimizer/exp_avg", "optimizer/exp_avg_sq"):
            state[f"{kind}/{name}"] = torch.rand(weight.shape, generator=generator)
        state[f"optimizer/step/{name}"] = torch.tensor(7.0)
    return state


@pytest.mark.parametrize("growth", ["copy", "identity"])
@pytest.mark.parametrize("block", [MID, ATTENTION])
def test_a_copy_takes_over_the_training_of_its_source(
    own: Supernet, block: BlockId, growth: Growth
) -> None:
    before = state_of(own.unet)
    grow(own.unet, own.full().with_multiplicity(block, 2), growth)
    after = inherit(before, own.unet, growth)
    path = ".".join(map(str, block.module_path))
    last = {MID: "conv2", ATTENTION: "proj_out"}[block]
    assert all(torch.equal(after[key], value) for key, value in before.items())
    new = after.keys() - before.keys()
    assert len(new) == 5 * len(list(find_block(own.unet, block).copies[0].parameters()))
    for key in new:
        kind, _, name = key.rpartition("/")
        source = before[f"{kind}/{name.replace('.copies.0', '')}"]
        assert name.startswith(f"{path}.copies.0.")
        silenced = growth == "identity" and f".{last}." in name
        if silenced and kind in ("weight", "ema", "optimizer/exp_avg"):
            assert not after[key].any()
        else:
            assert torch.equal(after[key], source)
    assert (
        after[f"weight/{path}.copies.0.{last}.weight"]
        .eq(own.unet.get_parameter(f"{path}.copies.0.{last}.weight"))
        .all()
    )


@pytest.mark.parametrize("block", [NARROWING, WIDENING])
def test_a_followers_state_fits_its_weights(own: Supernet, block: BlockId) -> None:
    before = state_of(own.unet)
    grow(own.unet, own.full().with_multiplicity(block, 2))
    after = inherit(before, own.unet, "copy")
    for name, weight in own.unet.named_parameters():
        assert torch.equal(after[f"weight/{name}"], weight)
        assert after[f"optimizer/exp_avg_sq/{name}"].shape == weight.shape
        assert (after[f"optimizer/exp_avg_sq/{name}"] > 0).float().mean() > 0.9
        assert after[f"optimizer/step/{name}"] == 7


def test_a_copy_keeps_mode_dtype_and_whether_it_is_trained(own: Supernet) -> None:
    unet = small_unet().to(torch.bfloat16).train().requires_grad_(False)
    grow(unet, own.full().with_multiplicities({MID: 2, NARROWING: 2}), "identity")
    for block in (MID, NARROWING):
        [added] = copies_of(find_block(unet, block))
        assert {weight.dtype for weight in added.parameters()} == {torch.bfloat16}
        assert not any(weight.requires_grad for weight in added.parameters())
        assert all(module.training for module in added.modules())


def test_the_source_is_left_as_it_is(own: Supernet) -> None:
    source: Any = find_block(own.unet, NARROWING)
    before = copy.deepcopy(source.state_dict())
    assert isinstance(new_copy(source, "identity"), nn.Module)
    assert source.in_channels != source.out_channels
    for name, value in source.state_dict().items():
        assert torch.equal(value, before[name])
