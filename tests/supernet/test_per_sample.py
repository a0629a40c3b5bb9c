"""A batch whose pictures run different architectures equals each of them run alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_unet import small_inputs, small_unet
from torch import Tensor, nn

from supernet.architecture import CROSS_ATTENTION, RESNET, Architecture, ArchitectureError, BlockId
from supernet.inventory import take_inventory, unet_config
from supernet.per_sample import running_each
from supernet.supernet import Supernet

INVENTORY = take_inventory(unet_config(small_unet()))
BLOCKS = list(INVENTORY.full())
ATTENTION = BlockId(CROSS_ATTENTION, "down.0", 1)
SHORTCUT = BlockId(RESNET, "up.1", 0)  # changes the number of channels: a convolution stays
COPIED = BlockId(RESNET, "mid", 0)


def inputs(pictures: int) -> tuple[Tensor, Tensor, Tensor]:
    draws = [small_inputs(seed) for seed in range(pictures)]
    sample, timestep, prompt = (torch.cat([each[i][:1] for each in draws]) for i in range(3))
    return sample, timestep, prompt


def gradients(unet: nn.Module) -> dict[str, Tensor | None]:
    found = {n: None if p.grad is None else p.grad.clone() for n, p in unet.named_parameters()}
    unet.zero_grad(set_to_none=True)
    return found


def check_like_alone(supernet: Supernet, architectures: list[Architecture]) -> None:
    sample, timestep, prompt = inputs(len(architectures))
    with running_each(supernet, architectures) as unet:
        together = unet(sample, timestep, prompt).sample
        together.square().sum().backward()
    own = gradients(supernet.unet)
    for i, architecture in enumerate(architectures):
        with supernet.running(architecture) as unet:
            alone = unet(sample[i : i + 1], timestep[i : i + 1], prompt[i : i + 1]).sample
            alone.square().sum().backward()
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-4, atol=1e-5)
    for name, expected in gradients(supernet.unet).items():
        assert (own[name] is None) == (expected is None), name
        if expected is not None:
            torch.testing.assert_close(own[name], expected, rtol=1e-3, atol=1e-3)


keeps = st.lists(st.booleans(), min_size=len(BLOCKS), max_size=len(BLOCKS))


@given(st.lists(keeps, min_size=1, max_size=4), st.booleans())
@settings(deadline=None, max_examples=12)
def test_every_picture_runs_as_if_alone(
    supernet: Supernet, kept: list[list[bool]], repeated: bool
) -> None:
    largest = INVENTORY.full().with_multiplicities({COPIED: 2} if repeated else {})
    check_like_alone(
        supernet,
        [
            largest.without(b for b, keep in zip(BLOCKS, row, strict=True) if not keep)
            for row in kept
        ],
    )


def test_a_convolutional_shortcut_and_a_tuple_are_merged(supernet: Supernet) -> None:
    full = supernet.full()
    lighter = [full.without([SHORTCUT]), full, full.without([ATTENTION, SHORTCUT]), full]
    check_like_alone(supernet, lighter)


def test_a_block_computes_for_those_who_run_it_alone(supernet: Supernet) -> None:
    full = supernet.full()
    seen: list[int] = []
    path, index = ATTENTION.module_path
    block = supernet.unet.get_submodule(f"{path}.{index}")
    hook = block.register_forward_hook(lambda module, given, output: seen.append(len(given[0])))
    sample, timestep, prompt = inputs(4)
    for skipping in ([1, 3], [0, 1, 2], [0, 1, 2, 3], []):
        architectures = [full.without([ATTENTION] if i in skipping else []) for i in range(4)]
        with running_each(supernet, architectures) as unet, torch.no_grad():
            unet(sample, timestep, prompt)
    hook.remove()
    assert seen == [2, 1, 4]


def test_the_unet_is_as_it_was_afterwards(supernet: Supernet) -> None:
    modules = dict(supernet.unet.named_modules())
    full = supernet.full()

    def fail() -> None:
        with running_each(supernet, [full, full.without(full)]):
            assert dict(supernet.unet.named_modules()) != modules
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert dict(supernet.unet.named_modules()) == modules


def test_pictures_that_repeat_a_block_differently_are_refused(supernet: Supernet) -> None:
    full = supernet.full()
    twice = full.with_multiplicity(COPIED, 2)
    with (
        pytest.raises(ArchitectureError, match=r"repeat 'resnet mid/0' differently"),
        running_each(supernet, [full, twice]),
    ):
        pass


# --- layers inside of blocks


@given(st.data())
@settings(deadline=None, max_examples=8)
def test_pictures_may_run_different_layers_of_a_block(data: st.DataObject) -> None:
    """For a picture that runs none of its layers, the block is the identity."""
    unet = small_unet(transformer_layers_per_block=2, layers_per_block=1)
    supernet = Supernet(unet, "transformer_layer")
    full = supernet.full()
    layered = [blocks for blocks in full.sites.values() if len(blocks) > 1]
    architectures = []
    for _ in range(4):
        away = {block for block in full if data.draw(st.booleans())}
        for blocks in layered:
            away |= set(blocks) if data.draw(st.booleans()) else set()
        architectures.append(full.without(away))
    check_like_alone(supernet, architectures)
