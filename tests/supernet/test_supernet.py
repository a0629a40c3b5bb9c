"""The supernet against stock diffusers: same numbers, nothing run in vain, nothing left behind."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.resnet import ResnetBlock2D
from hypothesis import given, settings
from hypothesis import strategies as st
from small_unet import architectures, small_inputs, small_unet
from torch import Tensor, nn

from supernet.architecture import (
    CROSS_ATTENTION,
    RESNET,
    Architecture,
    ArchitectureError,
    BlockId,
)
from supernet.materialize import materialize
from supernet.supernet import Supernet
from supernet.unet_blocks import find_block

ATTENTION = BlockId(CROSS_ATTENTION, "up.1", 1)
MID = BlockId(RESNET, "mid", 0)
CHANGING = BlockId(RESNET, "up.0", 0)
INPUTS = small_inputs()


def output_and_gradients(unet: UNet2DConditionModel) -> tuple[Tensor, dict[str, Tensor]]:
    unet.zero_grad()
    output = unet(*INPUTS).sample
    output.square().mean().backward()
    return output.detach(), {name: weight.grad for name, weight in unet.named_parameters()}


def predict(unet: UNet2DConditionModel) -> Tensor:
    with torch.no_grad():
        output: Tensor = unet(*INPUTS).sample
    return output


@contextmanager
def counted_calls(supernet: Supernet) -> Iterator[Counter[BlockId]]:
    """How often every block of the UNet is called, stand-ins not counted."""
    calls: Counter[BlockId] = Counter(dict.fromkeys(supernet.full(), 0))

    def count(block: BlockId) -> Callable[..., None]:
        return lambda *_: calls.update([block])

    hooks = [find_block(supernet.unet, b).register_forward_hook(count(b)) for b in supernet.full()]
    yield calls
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("training", [False, True])
def test_with_every_block_on_it_is_the_stock_unet_bit_for_bit(training: bool) -> None:
    supernet = Supernet(small_unet().train(training))
    stock = copy.deepcopy(supernet.unet)
    with supernet.running(supernet.full()) as unet:
        output, gradients = output_and_gradients(unet)
    stock_output, stock_gradients = output_and_gradients(stock)
    assert torch.equal(output, stock_output)
    assert gradients.keys() == stock_gradients.keys()
    for name, gradient in stock_gradients.items():
        assert torch.equal(gradients[name], gradient), name


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_afterwards_it_is_the_stock_unet_again(supernet: Supernet, data: st.DataObject) -> None:
    architecture = data.draw(architectures(supernet.inventory))
    modules = dict(supernet.unet.named_modules())
    keys = list(supernet.unet.state_dict())
    before = predict(supernet.unet)
    with supernet.running(architecture) as unet:
        predict(unet)
    assert dict(supernet.unet.named_modules()) == modules
    assert list(supernet.unet.state_dict()) == keys
    assert torch.equal(predict(supernet.unet), before)


def test_an_error_leaves_the_stock_unet_too(supernet: Supernet) -> None:
    modules = dict(supernet.unet.named_modules())
    lighter = supernet.full().with_multiplicities({ATTENTION: 0, MID: 2})

    def interrupted() -> None:
        with supernet.running(lighter) as unet:
            assert dict(unet.named_modules()) != modules
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert dict(supernet.unet.named_modules()) == modules


def test_state_dict_keys_are_those_of_stock_diffusers(supernet: Supernet) -> None:
    assert list(supernet.unet.state_dict()) == list(small_unet().state_dict())


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_blocks_are_called_as_often_as_the_architecture_says(
    supernet: Supernet, data: st.DataObject
) -> None:
    """A skipped block costs nothing, a copied one runs twice."""
    architecture = data.draw(architectures(supernet.inventory))
    with counted_calls(supernet) as calls, supernet.running(architecture) as unet:
        predict(unet)
    assert dict(calls) == dict(architecture.blocks)


def test_of_a_skipped_resnet_only_its_shortcut_runs(supernet: Supernet) -> None:
    resnet = find_block(supernet.unet, CHANGING)
    called: list[str] = []
    hooks = [
        module.register_forward_hook(lambda *_, name=name: called.append(name))
        for name, module in resnet.named_modules()
    ]
    with supernet.running(supernet.full().without([CHANGING])) as unet:
        predict(unet)
    for hook in hooks:
        hook.remove()
    assert called == ["conv_shortcut"]


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_skipping_a_block_is_leaving_out_its_residual(data: st.DataObject) -> None:
    """A stock block whose last layer is zero adds nothing: it must equal the skipped one."""
    supernet = Supernet(small_unet())
    removed = data.draw(st.sets(st.sampled_from(list(supernet.full()))))
    silenced = copy.deepcopy(supernet.unet)
    for block in removed:
        module = find_block(silenced, block)
        last = module.conv2 if isinstance(module, ResnetBlock2D) else module.proj_out
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    with supernet.running(supernet.full().without(removed)) as unet:
        assert torch.equal(predict(unet), predict(silenced))


def test_every_block_matters(supernet: Supernet) -> None:
    before = predict(supernet.unet)
    for block in supernet.full():
        with supernet.running(supernet.full().without([block])) as unet:
            assert not torch.allclose(predict(unet), before, atol=1e-4), block


def test_copies_share_the_weights_of_their_source(supernet: Supernet) -> None:
    own = {id(weight) for weight in supernet.unet.parameters()}
    doubled = supernet.full().with_multiplicities({ATTENTION: 2, MID: 3, CHANGING: 0})
    with supernet.running(doubled) as unet:
        running = {id(weight) for weight in unet.parameters()}
    assert running < own


def test_gradients_of_a_shared_block_are_the_sum_over_its_copies() -> None:
    supernet = Supernet(small_unet())
    doubled = supernet.full().with_multiplicity(MID, 2)
    standalone = materialize(supernet.unet, doubled)
    with supernet.running(doubled) as unet:
        unet(*INPUTS).sample.square().mean().backward()
    standalone(*INPUTS).sample.square().mean().backward()
    first, second = find_block(standalone, MID)
    for name, weight in find_block(supernet.unet, MID).named_parameters():
        summed = first.get_parameter(name).grad + second.get_parameter(name).grad
        torch.testing.assert_close(weight.grad, summed, rtol=1e-4, atol=1e-7)


def test_a_skipped_block_gets_no_gradient() -> None:
    supernet = Supernet(small_unet())
    with supernet.running(supernet.full().without([ATTENTION, CHANGING])) as unet:
        unet(*INPUTS).sample.mean().backward()
    without = {name for name, weight in supernet.unet.named_parameters() if weight.grad is None}
    attention, resnet = (
        ".".join(map(str, block.module_path)) + "." for block in (ATTENTION, CHANGING)
    )
    assert without == {
        name
        for name, _ in supernet.unet.named_parameters()
        if name.startswith(attention) or (name.startswith(resnet) and "conv_shortcut" not in name)
    }


@pytest.mark.parametrize("training", [False, True])
def test_the_mode_of_every_module_stays(training: bool) -> None:
    supernet = Supernet(small_unet().train(training))
    changed = supernet.full().with_multiplicities({ATTENTION: 2, MID: 2, CHANGING: 0})
    with supernet.running(changed) as unet:
        assert {module.training for module in unet.modules()} == {training}
    assert {module.training for module in supernet.unet.modules()} == {training}


def test_what_cannot_run_is_refused_before_anything_is_replaced(supernet: Supernet) -> None:
    modules = dict(supernet.unet.named_modules())
    full = supernet.full()
    other = Supernet(small_unet(layers_per_block=1)).full()
    refused: list[tuple[Architecture, str]] = [
        (other, "belongs to the base UNet"),
        (Architecture(full.base, full.blocks[1:]), "does not list"),
    ]
    for architecture, message in refused:
        with pytest.raises(ArchitectureError, match=message), supernet.running(architecture):
            pass
    assert dict(supernet.unet.named_modules()) == modules


def test_a_standalone_unet_with_changed_blocks_makes_no_supernet(supernet: Supernet) -> None:
    standalone = materialize(supernet.unet, supernet.full().without([ATTENTION]))
    with pytest.raises(ArchitectureError, match="removed or repeated already"):
        Supernet(standalone)
    assert Supernet(materialize(supernet.unet, supernet.full())).full() == supernet.full()
