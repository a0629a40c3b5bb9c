"""Passes that begin alike: the same numbers, fewer blocks run, nothing kept too long."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_unet import architectures, small_inputs, small_unet
from torch import Tensor, nn

from supernet.architecture import Architecture
from supernet.shared_prefix import SharedPrefix
from supernet.supernet import Supernet
from supernet.unet_blocks import find_block

INPUTS, OTHERS = small_inputs(), small_inputs(seed=2)
LAYERED = Supernet(small_unet(transformer_layers_per_block=2), granularity="layer")


@torch.no_grad()
def whole(supernet: Supernet, architecture: Architecture, inputs: Sequence[Tensor]) -> Tensor:
    with supernet.running(architecture) as unet:
        output: Tensor = unet(*inputs).sample
    return output


@torch.no_grad()
def shared(
    prefix: SharedPrefix,
    supernet: Supernet,
    architecture: Architecture,
    *passes: Sequence[Tensor],
    key: object = 0,
) -> list[Tensor]:
    """Passes one after the other, of which the first is shared."""
    with supernet.running(architecture) as unet, prefix.first_pass(architecture, key):
        return [unet(*inputs).sample for inputs in passes]


def calls_within(prefix: SharedPrefix, supernet: Supernet, architecture: Architecture) -> int:
    """Blocks, stand-ins included, that a shared pass runs."""
    calls: list[nn.Module] = []
    with supernet.running(architecture) as unet, prefix.first_pass(architecture, 0):
        hooks = [
            find_block(unet, block).register_forward_hook(lambda *call: calls.append(call[0]))
            for block in supernet.inventory.by_id
        ]
        with torch.no_grad():
            unet(*INPUTS)
    for hook in hooks:
        hook.remove()
    return len(calls)


@settings(max_examples=8, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("layered", [False, True], ids=["blocks", "layers"])
def test_passes_of_any_sequence_are_whole_ones_bit_for_bit(
    supernet: Supernet, layered: bool, data: st.DataObject
) -> None:
    of = LAYERED if layered else supernet
    prefix = SharedPrefix(of.unet)
    sequence = data.draw(st.lists(architectures(of.inventory), min_size=2, max_size=3))
    for architecture in sequence:
        for turn in (architecture, architecture.without(list(architecture)[-3:])):
            first, second = shared(prefix, of, turn, INPUTS, OTHERS)
            assert torch.equal(first, whole(of, turn, INPUTS))
            assert torch.equal(second, whole(of, turn, OTHERS))


def test_only_what_differs_and_what_follows_runs(supernet: Supernet) -> None:
    prefix, full = SharedPrefix(supernet.unet), supernet.full()
    blocks = list(full)
    assert calls_within(prefix, supernet, full) == len(blocks)
    assert calls_within(prefix, supernet, full) == 0
    for place in (15, 4, 10):
        reduced = full.without([blocks[place]])
        assert calls_within(prefix, supernet, reduced) == len(blocks) - place
        assert calls_within(prefix, supernet, full) == len(blocks) - place


def test_an_added_block_runs_again_and_those_before_it_do_not(supernet: Supernet) -> None:
    prefix, full = SharedPrefix(supernet.unet), supernet.full()
    blocks = list(full)
    shared(prefix, supernet, full, INPUTS)
    doubled = full.with_multiplicities({blocks[3]: 2})
    assert calls_within(prefix, supernet, doubled) == len(blocks) - 3


def test_other_inputs_share_nothing(supernet: Supernet) -> None:
    prefix, full = SharedPrefix(supernet.unet), supernet.full()
    shared(prefix, supernet, full, INPUTS, key=range(2))
    [output] = shared(prefix, supernet, full, OTHERS, key=range(2, 4))
    assert torch.equal(output, whole(supernet, full, OTHERS))


def test_new_weights_share_nothing_once_the_old_ones_are_forgotten() -> None:
    supernet = Supernet(small_unet())
    prefix, full = SharedPrefix(supernet.unet), supernet.full()
    shared(prefix, supernet, full, INPUTS)
    supernet.unet.load_state_dict(small_unet(seed=1).state_dict())
    prefix.forget()
    [output] = shared(prefix, supernet, full, INPUTS)
    assert torch.equal(output, whole(supernet, full, INPUTS))


def test_a_pass_that_fails_leaves_nothing_behind(supernet: Supernet) -> None:
    prefix, full = SharedPrefix(supernet.unet), supernet.full()
    reduced = full.without(list(full)[-1:])
    shared(prefix, supernet, full, INPUTS)
    modules = list(supernet.unet.modules())
    sample, timestep, _ = INPUTS
    with pytest.raises(RuntimeError):
        shared(prefix, supernet, reduced, (sample[:1, :3], timestep[:1], None))
    assert list(supernet.unet.modules()) == modules
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in modules)
    [output] = shared(prefix, supernet, reduced, INPUTS)
    assert torch.equal(output, whole(supernet, reduced, INPUTS))
