"""Standalone UNets compute what the supernet computes, own their weights, save and load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from hypothesis import example, given, settings
from hypothesis import strategies as st
from small_unet import SMALL, architectures, small_inputs, small_unet
from torch import Tensor

from supernet.architecture import (
    CROSS_ATTENTION,
    RESNET,
    Architecture,
    ArchitectureError,
    BlockId,
)
from supernet.materialize import architecture_of, materialize
from supernet.standalone_unet import StandaloneUNet
from supernet.supernet import Supernet

ATTENTION = BlockId(CROSS_ATTENTION, "down.0", 1)
MID = BlockId(RESNET, "mid", 0)
CHANGING = BlockId(RESNET, "up.0", 0)
INPUTS = small_inputs()


@pytest.fixture
def found(supernet: Supernet) -> Architecture:
    """Something removed of both kinds, a shortcut left, something repeated of both kinds."""
    attention = BlockId(CROSS_ATTENTION, "up.1", 0)
    return supernet.full().with_multiplicities({ATTENTION: 0, CHANGING: 0, MID: 3, attention: 2})


def predict(unet: UNet2DConditionModel) -> Tensor:
    with torch.no_grad():
        output: Tensor = unet(*INPUTS).sample
    return output


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_it_computes_what_the_supernet_computes(supernet: Supernet, data: st.DataObject) -> None:
    architecture = data.draw(architectures(supernet.inventory))
    standalone = materialize(supernet.unet, architecture)
    with supernet.running(architecture) as unet:
        shared = predict(unet)
    assert (predict(standalone) - shared).abs().max() <= 1e-5
    assert architecture_of(standalone) == architecture


def test_a_stock_unet_has_the_full_architecture(supernet: Supernet) -> None:
    assert architecture_of(supernet.unet) == supernet.full()


def test_nothing_changed_is_the_stock_unet_bit_for_bit(supernet: Supernet) -> None:
    standalone = materialize(supernet.unet, supernet.full())
    assert list(standalone.state_dict()) == list(supernet.unet.state_dict())
    assert torch.equal(predict(standalone), predict(supernet.unet))


@settings(max_examples=5, deadline=None)
@given(st.data())
def test_it_saves_and_loads_bit_for_bit(
    supernet: Supernet, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    architecture = data.draw(architectures(supernet.inventory))
    folder = tmp_path_factory.mktemp("unet")
    standalone = materialize(supernet.unet, architecture)
    standalone.save_pretrained(folder)
    loaded = StandaloneUNet.from_pretrained(folder)
    assert architecture_of(loaded) == architecture
    assert torch.equal(predict(loaded), predict(standalone))
    for name, weight in standalone.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight), name
    assert not loaded.training


def test_removed_blocks_leave_no_weights(supernet: Supernet) -> None:
    smallest = supernet.inventory.smallest()
    keys = set(materialize(supernet.unet, smallest).state_dict())
    assert keys < set(supernet.unet.state_dict())
    inside = {key for key in keys if ".resnets." in key or ".attentions." in key}
    assert {key.split(".")[-2] for key in inside} == {"conv_shortcut"}


def test_its_weights_are_its_own(supernet: Supernet, found: Architecture) -> None:
    standalone = materialize(supernet.unet, found)
    before = predict(supernet.unet)
    storages = [weight.data_ptr() for weight in standalone.parameters()]
    assert len(set(storages)) == len(storages)
    with torch.no_grad():
        for weight in standalone.parameters():
            weight.zero_()
    assert torch.equal(predict(supernet.unet), before)
    assert all(weight.requires_grad for weight in standalone.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("training", [False, True])
def test_it_keeps_dtype_and_mode(found: Architecture, dtype: torch.dtype, training: bool) -> None:
    unet = small_unet().to(dtype).train(training)
    standalone = materialize(unet, found)
    assert {weight.dtype for weight in standalone.state_dict().values()} == {dtype}
    assert {module.training for module in standalone.modules()} == {training}


def test_materializing_draws_no_random_numbers(supernet: Supernet, found: Architecture) -> None:
    before = torch.get_rng_state()
    materialize(supernet.unet, found)
    assert torch.equal(torch.get_rng_state(), before)


@example(sample_seed=0)
@settings(max_examples=3, deadline=None)
@given(sample_seed=st.integers(0, 1000))
def test_it_is_called_as_pipelines_call(supernet: Supernet, sample_seed: int) -> None:
    standalone = materialize(supernet.unet, supernet.full().without([MID]))
    sample, _, prompt = small_inputs(sample_seed)
    with torch.no_grad():
        output = standalone(sample, torch.tensor(20), encoder_hidden_states=prompt).sample
        (unpacked,) = standalone(sample, 20, prompt, return_dict=False)
    assert output.shape == sample.shape
    assert torch.equal(output, unpacked)


def test_it_draws_in_a_stock_pipeline(supernet: Supernet, found: Architecture) -> None:
    _, _, prompt = small_inputs()

    def draw(unet: UNet2DConditionModel) -> Tensor:
        pipeline = StableDiffusionPipeline(
            vae=None,
            text_encoder=None,
            tokenizer=None,
            unet=unet,
            scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        latents: Tensor = pipeline(
            prompt_embeds=prompt[:1],
            negative_prompt_embeds=prompt[1:],
            num_inference_steps=3,
            latents=small_inputs()[0][:1],
            output_type="latent",
        ).images
        return latents

    with supernet.running(found) as unet:
        expected = draw(unet)
    torch.testing.assert_close(
        draw(materialize(supernet.unet, found)), expected, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    ("multiplicities", "message"),
    [
        ({"resnet down.9/0": 0}, r"no block 'resnet down\.9/0'"),
        ({"resnet mid/2": 0}, "no block 'resnet mid/2'"),
        ({"convolution": 0}, "not a block: 'convolution'"),
        ({"resnet mid/0": -1}, "multiplicity of resnet mid/0 is -1"),
        ({"resnet mid/0": True}, "multiplicity of resnet mid/0 is True"),
        ({"cross_attention mid/0": 0, "transformer_layer mid/0.0": 0}, "no block 'transformer"),
        ({"transformer_layer mid/0": 0}, "not a block: 'transformer_layer mid/0'"),
    ],
)
def test_impossible_multiplicities_are_refused(
    multiplicities: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        StandaloneUNet(multiplicities, **SMALL)


def test_a_damaged_configuration_is_refused_on_loading(
    supernet: Supernet, found: Architecture, tmp_path: Path
) -> None:
    materialize(supernet.unet, found).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["multiplicities"] = {"resnet down.9/0": 0}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"no block 'resnet down\.9/0'"):
        StandaloneUNet.from_pretrained(tmp_path)


def test_an_architecture_of_another_base_is_refused(supernet: Supernet) -> None:
    other = Supernet(small_unet(layers_per_block=1)).full()
    with pytest.raises(ArchitectureError, match="belongs to another base UNet"):
        materialize(supernet.unet, other)
