"""Peak activations: what is counted by blocks against whole passes of the architecture itself."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_unets import unet_configs
from small_unet import SMALL
from torch import Tensor, nn

from supernet.activations import PeakActivations, count_activations
from supernet.architecture import Architecture, Granularity
from supernet.inventory import take_inventory, unet_config
from supernet.parts import Inventory
from supernet.supernet import Supernet
from supernet.tracing import example_inputs, meta_unet

TOKENS = 5


def inventory_of(config: dict[str, Any], granularity: Granularity = "block") -> Inventory:
    return take_inventory(unet_config(config), granularity=granularity, context_length=TOKENS)


SMALL_INVENTORY = inventory_of(SMALL)
PEAK = PeakActivations(SMALL_INVENTORY)


def counted(inventory: Inventory, architecture: Architecture, granularity: Granularity) -> int:
    """In a pass of the architecture itself."""
    supernet = Supernet(meta_unet(inventory.config), granularity)
    about = inventory.overhead
    inputs = example_inputs(supernet.unet, about.batch, about.height, about.width, TOKENS)
    with supernet.running(architecture) as unet:
        return max(count_activations(unet, inputs, []).values())


@settings(deadline=None, max_examples=8)
@given(unet_configs(), st.sampled_from(["block", "transformer_layer"]), st.data())
def test_the_base_is_exact_and_no_architecture_holds_more_than_it_says(
    config: dict[str, Any], granularity: Granularity, data: st.DataObject
) -> None:
    inventory = inventory_of(config, granularity)
    full = inventory.full()
    peak = PeakActivations(inventory)
    assert peak(full) == counted(inventory, full, granularity)
    multiplicities = {block: data.draw(st.integers(0, 2)) for block in full}
    some = full.with_multiplicities(multiplicities)
    held = counted(inventory, some, granularity)
    assert held <= peak(some) <= 1.6 * held


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_what_exceeds_a_limit_falls_with_every_block_that_does(data: st.DataObject) -> None:
    peak, full, inventory = PEAK, SMALL_INVENTORY.full(), SMALL_INVENTORY
    removed = data.draw(st.sets(st.sampled_from(list(full))))
    some = full.without(removed)
    most = data.draw(st.integers(peak(inventory.smallest()), peak(full)))
    assert (peak.beyond(some, most) == 0) == (peak(some) <= most)
    for block in set(full) - removed:
        alone = peak.beyond(full, most) - peak.beyond(full.without([block]), most)
        again = peak.beyond(some, most) - peak.beyond(some.without([block]), most)
        assert again == alone >= 0


def test_attention_s_scores_are_not_held() -> None:
    inventory = inventory_of(SMALL | {"sample_size": 64, "layers_per_block": 1})
    tokens = 64 * 64
    assert PeakActivations(inventory)(inventory.full()) < tokens**2


def test_values_are_counted_once_and_only_while_they_are_held() -> None:
    class Layer(nn.Module):
        def forward(self, sample: Tensor) -> Tensor:
            twice = torch.cat([sample, sample], dim=1)  # 3 * 14 more
            left, right = twice.chunk(2, dim=1)  # views
            product = left * right  # 3 * 7 more
            del twice, left, right
            return torch.cat([product] * 4, dim=1)  # 3 * 28 more, after those 3 * 14 are gone

    sample = torch.empty(3, 7, device="meta")
    assert count_activations(Layer(), {"sample": sample}, []) == {"": 3 * (7 + 7 + 28)}
