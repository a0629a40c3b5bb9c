"""Over random valid configurations: the supernet is the stock UNet, standalone UNets are it."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from random_unets import random_inputs, random_unet, unet_configs
from torch import Tensor

from supernet.architecture import Architecture, Granularity
from supernet.growth import grow
from supernet.materialize import architecture_of, materialize
from supernet.parts import Inventory
from supernet.spec import Provenance, Spec, build_spec
from supernet.standalone_unet import StandaloneUNet
from supernet.supernet import Supernet

# An example builds and traces a UNet, so there are few, and none is made simpler in minutes.
relaxed = settings(
    deadline=None,
    max_examples=10,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.data_too_large, HealthCheck.too_slow],
)
granularities = st.sampled_from(["block", "transformer_layer"])


def predict(unet: UNet2DConditionModel) -> Tensor:
    with torch.no_grad():
        output: Tensor = unet(**random_inputs(unet)).sample
    return output


def any_architecture(draw: st.DrawFn, inventory: Inventory) -> Architecture:
    """Blocks and layers removed, kept and repeated; now and then all layers of an attention."""
    full = inventory.full()
    counts = {block: draw(st.integers(0, 2)) for block in full}
    for blocks in full.sites.values():
        if len(blocks) > 1 and draw(st.booleans()):
            counts |= dict.fromkeys(blocks, 0)
    return full.with_multiplicities(counts)


@relaxed
@given(unet_configs(), granularities)
def test_with_everything_on_it_is_the_stock_unet_bit_for_bit(
    config: dict[str, Any], granularity: Granularity
) -> None:
    supernet = Supernet(random_unet(config), granularity)
    stock = copy.deepcopy(supernet.unet)
    with supernet.running(supernet.full()) as unet:
        assert torch.equal(predict(unet), predict(stock))


@relaxed
@given(unet_configs(), granularities, st.data())
def test_any_architecture_stands_alone_saves_and_loads(
    tmp_path_factory: pytest.TempPathFactory,
    config: dict[str, Any],
    granularity: Granularity,
    data: st.DataObject,
) -> None:
    supernet = Supernet(random_unet(config), granularity)
    architecture = any_architecture(data.draw, supernet.inventory)
    if data.draw(st.booleans(), label="grown"):
        grow(supernet.unet, architecture, data.draw(st.sampled_from(["copy", "identity"])))
        for weight in supernet.unet.parameters():  # copies go ways of their own
            weight.data += 0.01 * torch.randn(weight.shape)
    with supernet.running(architecture) as unet:
        shared = predict(unet)
    standalone = materialize(supernet.unet, architecture)
    assert architecture_of(standalone) == architecture
    torch.testing.assert_close(predict(standalone), shared, rtol=0, atol=1e-5)

    folder = tmp_path_factory.mktemp("unet")
    standalone.save_pretrained(folder)
    loaded = StandaloneUNet.from_pretrained(folder)
    assert architecture_of(loaded) == architecture
    assert torch.equal(predict(loaded), predict(standalone))


@relaxed
@given(unet_configs(), granularities, st.data())
def test_parameters_and_spec_are_those_of_the_standalone_unet(
    config: dict[str, Any], granularity: Granularity, data: st.DataObject
) -> None:
    supernet = Supernet(random_unet(config), granularity)
    inventory = supernet.inventory
    architecture = any_architecture(data.draw, inventory)
    standalone = materialize(supernet.unet, architecture)
    counted = sum(weight.numel() for weight in standalone.parameters())
    assert inventory.parameters(architecture) == counted

    provenance = Provenance(experiment="e", seed=0, evounet="0", weights=())
    text = build_spec(inventory, architecture, (), None, provenance).model_dump_json()
    spec = Spec.model_validate(json.loads(text))
    assert spec.parameters[1] == counted
    assert spec.architecture() == architecture
    assert sum(row.transformer_layers[0] for row in spec.stages) == sum(
        len(m.transformer_blocks)
        for m in supernet.unet.modules()
        if hasattr(m, "transformer_blocks")
    )
