"""Core ML packages of tiny networks: what they say, what they compute, and what is refused."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path

import coremltools
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from in_process import SMALL
from rich.console import Console
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from experiments.export.coreml import attention
from experiments.export.coreml.attention import attention_layout
from experiments.export.coreml.choices import AttentionLayout, WeightFormat
from experiments.export.coreml.conversion import bisect_package, convert_network
from experiments.export.coreml.networks import (
    Network,
    decoder_network,
    text_encoder_network,
    unet_network,
)
from experiments.export.coreml.package import read_program
from experiments.export.coreml.verification import (
    answers_of,
    check_agreement,
    check_features,
    compare,
    interpreted,
    psnr_db,
)
from experiments.export.destination import ExportError
from supernet.standalone_unet import StandaloneUNet


def quiet() -> Console:
    return Console(file=io.StringIO())


def small_unet() -> StandaloneUNet:
    torch.manual_seed(0)
    changes = {"cross_attention down.0/1": 0, "resnet mid/0": 2}
    base = {name: value for name, value in SMALL.items() if not name.startswith("_")}
    return StandaloneUNet(changes, **base).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def network() -> Network:
    return unet_network(small_unet(), tokens=5, timesteps=1000)


@pytest.fixture(scope="module")
def package(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packages")
    return convert_network(network, folder, "fp16", {"com.evounet.architecture": "a1"})


def answered(network: Network, packages: list[Path]) -> dict[str, Tensor]:
    return answers_of(packages, network.inputs, interpreted(quiet()))


def test_a_package_is_what_apples_runtime_looks_for(network: Network, package: Path) -> None:
    assert package.name == "Unet.mlpackage"
    model = coremltools.models.MLModel(str(package), skip_model_load=True)
    described = model.get_spec().description
    shapes = {
        each.name: tuple(each.type.multiArrayType.shape)
        for each in (*described.input, *described.output)
    }
    assert shapes == {
        "sample": (2, 4, 8, 8),
        "timestep": (2,),
        "encoder_hidden_states": (2, 12, 1, 5),
        "noise_pred": (2, 4, 8, 8),
    }
    assert all(each.shortDescription for each in (*described.input, *described.output))
    assert model.user_defined_metadata["com.evounet.architecture"] == "a1"
    assert model.get_spec().specificationVersion == 8  # iOS 17, macOS 14


def test_a_package_computes_what_torch_does(network: Network, package: Path) -> None:
    program = check_features(package, network, network.answers())
    # Two bytes for a weight; equal tensors are kept once, and small ones padded.
    assert program.weight_bytes == pytest.approx(2 * network.parameters, rel=0.1)
    agreement = compare(network.answers(), answered(network, [package]))
    assert agreement.psnr_db > 40
    assert agreement.max_abs_diff < 0.1


def test_a_wrong_weight_is_seen(network: Network, package: Path, tmp_path: Path) -> None:
    other = small_unet()
    torch.nn.init.zeros_(other.up_blocks[1].resnets[0].conv1.weight)
    expected = unet_network(other, tokens=5, timesteps=1000).answers()
    agreement = compare(expected, answered(network, [package]))
    with pytest.raises(ExportError, match=r"Unet: differs from torch by PSNR .*at least 35 dB"):
        check_agreement("Unet", agreement)


def test_features_of_another_shape_are_seen(network: Network, package: Path) -> None:
    longer = unet_network(small_unet(), tokens=6, timesteps=1000)
    with pytest.raises(ExportError, match=r"Unet\.mlpackage: wants .*encoder_hidden_states"):
        check_features(package, longer, network.answers())


def test_two_chunks_are_the_whole(network: Network, package: Path, tmp_path: Path) -> None:
    whole = Path(shutil.copytree(package, tmp_path / package.name))
    chunks = bisect_package(whole, network, {"com.evounet.architecture": "a1"})
    names = ["UnetChunk1.mlpackage", "UnetChunk2.mlpackage"]
    assert [each.name for each in chunks] == names
    assert sorted(each.name for each in tmp_path.iterdir()) == names
    halves = [read_program(each) for each in chunks]
    total = read_program(package).weight_bytes
    assert all(0.3 * total < half.weight_bytes < 0.8 * total for half in halves)
    handed = {each.name for each in halves[0].outputs}
    assert handed <= {each.name for each in halves[1].inputs}
    assert answered(network, chunks)["noise_pred"].equal(answered(network, [package])["noise_pred"])
    second = coremltools.models.MLModel(str(chunks[1]), skip_model_load=True)
    assert second.user_defined_metadata["com.evounet.architecture"] == "a1"


@pytest.mark.parametrize("layout", ["split_einsum", "split_einsum_v2"])
def test_split_attention_is_attention(
    layout: AttentionLayout, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 64 tokens in the largest feature map: steps of 50 and 14.
    monkeypatch.setattr(attention, "QUERIES_AT_ONCE", 50)
    before = network.module.unet.attn_processors
    with attention_layout(network.module, layout):
        assert network.module.unet.attn_processors != before
        split = network.answers()["noise_pred"]
    assert network.module.unet.attn_processors == before
    torch.testing.assert_close(split, network.answers()["noise_pred"], rtol=1e-4, atol=1e-5)


def test_split_attention_is_converted_head_by_head(tmp_path: Path) -> None:
    torch.manual_seed(0)
    block = UNet2DConditionModel(**{k: v for k, v in SMALL.items() if k != "_class_name"})
    layer = block.down_blocks[0].attentions[0].eval().requires_grad_(False)

    class OneLayer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, features: Tensor, context: Tensor) -> Tensor:
            answer: Tensor = self.layer(features, context, return_dict=False)[0]
            return answer

    inputs = {"features": torch.randn(2, 8, 8, 8), "context": torch.randn(2, 5, 12)}
    one = Network("Layer", "", OneLayer(), inputs, ("answer",), {})
    expected = one.answers()
    with attention_layout(one.module, "split_einsum"):
        package = convert_network(one, tmp_path, "fp16", {})
    program = read_program(package)
    heads = 2 * layer.transformer_blocks[0].attn1.heads
    assert program.histogram["softmax"] == heads
    assert compare(expected, answered(one, [package])).psnr_db > 50


def test_attention_with_more_to_it_is_not_split() -> None:
    vae = AutoencoderKL(block_out_channels=(8,), norm_num_groups=4)
    message = "attentions.0: attention with group_norm and residual_connection has no split-einsum"
    with pytest.raises(ExportError, match=message), attention_layout(vae, "split_einsum"):
        pass


@pytest.mark.parametrize(
    ("weights", "bits", "values"),
    [("palettize-4", 4, 16), ("palettize-6", 6, 64), ("palettize-8", 8, 256), ("linear-8", 8, 255)],
)
def test_weights_of_fewer_bits(
    weights: WeightFormat, bits: int, values: int, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(128, 96, bias=False).requires_grad_(False)
    inputs = {"input": torch.eye(128)}  # so that the answer is the weights
    one = Network("Layer", "", layer, inputs, ("answer",), {})
    package = convert_network(one, tmp_path, weights, {})
    size = read_program(package).weight_bytes
    assert size == pytest.approx(128 * 96 * bits / 8, abs=1500)
    kept = answered(one, [package])["answer"].T
    channels = kept if weights == "linear-8" else kept[None]
    assert max(len(each.unique()) for each in channels) <= values
    error = (kept - layer.weight).square().mean().sqrt()
    assert error < layer.weight.abs().max() / 2**bits


def test_a_text_encoder_reads_every_token_of_a_large_vocabulary(tmp_path: Path) -> None:
    config = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=7,
        eos_token_id=2,  # as Stable Diffusion 1 has it: the end is the highest number
    )
    torch.manual_seed(0)
    network = text_encoder_network(CLIPTextModel(config).eval().requires_grad_(False), tokens=7)
    package = convert_network(network, tmp_path, "fp16", {})
    check_features(package, network, network.answers())
    assert compare(network.answers(), answered(network, [package])).psnr_db > 50
    words = torch.tensor([[49406, 40000, 32767, 32768, 5, 49407, 49407]]).float()
    other = replace(network, inputs={"input_ids": words})
    stock = network.module.text_encoder(words.int())
    expected = {"last_hidden_state": stock.last_hidden_state, "pooled_outputs": stock.pooler_output}
    assert compare(expected, answered(other, [package])).psnr_db > 50


def test_a_decoder_draws(tmp_path: Path) -> None:
    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
    ).eval()
    network = decoder_network(vae, (4, 6))
    package = convert_network(network, tmp_path, "fp16", {})
    check_features(package, network, network.answers())
    answers = answered(network, [package])
    assert answers["image"].shape == (1, 3, 8, 12)
    stock = vae.decode(network.inputs["z"].float()).sample.detach()
    assert compare({"image": stock}, answers).psnr_db > 50


def test_psnr_is_of_the_peak() -> None:
    reference = torch.tensor([0.0, -10.0])
    assert psnr_db(reference, reference + 0.1) == pytest.approx(40, abs=1e-4)
    assert psnr_db(reference, reference) == float("inf")
    assert psnr_db(reference, torch.tensor([float("nan"), 0.0])) == -float("inf")


def test_what_has_no_core_ml_form_is_told_in_one_line(tmp_path: Path) -> None:
    class Sorted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.linalg.svd(x)[1]

    one = Network("Unet", "", Sorted(), {"x": torch.eye(3)}, ("y",), {})
    with pytest.raises(ExportError, match="Unet: coremltools cannot convert this network"):
        convert_network(one, tmp_path, "fp16", {})
    assert not list(tmp_path.iterdir())
    more = {"addition_embed_type": "text", "addition_embed_type_num_heads": 2}
    base = {name: value for name, value in SMALL.items() if not name.startswith("_")}
    with pytest.raises(ExportError, match="its configuration asks for 'text' embeddings"):
        unet_network(UNet2DConditionModel(**base, **more), tokens=5, timesteps=1000)
