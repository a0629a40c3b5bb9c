"""``evounet export --format onnx``: what ONNX Runtime makes of it, and when nothing is written."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from diffusers import DDIMScheduler
from in_process import Evounet
from PIL import Image
from rich.console import Console
from torch import Tensor
from transformers import CLIPTokenizer

from evaluators.pipelines import load_pipeline
from experiments.export.artefact import Artefact
from experiments.export.destination import ExportError
from experiments.export.onnx import conversion, exporter
from experiments.export.onnx.conversion import convert_network, max_abs_diff
from experiments.export.onnx.exporter import export_onnx
from experiments.export.onnx.networks import Network, networks_of
from experiments.export.source import ExportSource, open_source
from supernet.architecture import BlockId
from supernet.inventory import take_inventory, unet_config
from supernet.materialize import materialize
from tests.evaluators.small_models import save_pipeline, save_sdxl_pipeline

DOCS = Path(__file__).parents[2] / "docs" / "export.md"
QUIET = Console(quiet=True)
CHANGED = {
    "resnet down.0/0": 0,
    "cross_attention up.1/1": 0,
    "resnet mid/0": 2,
    "cross_attention mid/0": 2,
}


@dataclass(frozen=True)
class Exported:
    source: ExportSource
    out: Path
    artefacts: tuple[Artefact, ...]

    def run(self, name: str, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        session = onnxruntime.InferenceSession(self.out / name / "model.onnx")
        names = [each.name for each in session.get_outputs()]
        answers = session.run(names, {key: value.numpy() for key, value in inputs.items()})
        return {key: torch.from_numpy(each) for key, each in zip(names, answers, strict=True)}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A small pipeline whose UNet has lost blocks and gained copies of others."""
    folder = tmp_path_factory.mktemp("onnx")
    pipeline = load_pipeline(save_pipeline(folder / "base"))
    full = take_inventory(unet_config(pipeline.unet)).full()
    changed = {BlockId.parse(block): count for block, count in CHANGED.items()}
    unet = materialize(pipeline.unet, full.with_multiplicities(changed))
    pipeline.register_modules(unet=unet)
    pipeline.save_pretrained(folder / "found")
    source = open_source(folder / "found")
    out = folder / "out" / "found-onnx"
    return Exported(source, out, export_onnx(source, out, False, QUIET))


@pytest.mark.parametrize(
    ("batch", "height", "width", "tokens"),
    [(1, 8, 8, 24), (4, 8, 8, 24), (1, 6, 12, 24), (2, 14, 4, 40)],
)
def test_unet_agrees_for_any_batch_size_and_prompt_length(
    exported: Exported, batch: int, height: int, width: int, tokens: int
) -> None:
    torch.manual_seed(batch)
    inputs = {
        "sample": torch.randn(batch, 4, height, width),
        "timestep": torch.tensor(37.5),
        "encoder_hidden_states": torch.randn(batch, tokens, 16),
    }
    answer = exported.run("unet", inputs)["out_sample"]
    with torch.no_grad():
        expected = exported.source.unet(*inputs.values()).sample
    assert answer.shape == expected.shape
    assert (answer - expected).abs().max() <= 1e-4
    assert expected.abs().max() > 0.01


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 8, 8), (3, 5, 7)])
def test_decoder_takes_latents_that_are_divided_by_their_scaling_factor(
    exported: Exported, batch: int, height: int, width: int
) -> None:
    torch.manual_seed(batch)
    latents = torch.randn(batch, 4, height, width)
    vae = exported.source.pipeline.vae
    answer = exported.run("vae_decoder", {"latent_sample": latents / vae.config.scaling_factor})
    with torch.no_grad():
        expected = vae.decode(latents / vae.config.scaling_factor).sample
    assert (answer["sample"] - expected).abs().max() <= 1e-4


def test_text_encoder_agrees_for_prompts_of_any_length(exported: Exported) -> None:
    encoder = exported.source.pipeline.text_encoder
    for shape in (1, 24), (5, 9):
        words = torch.randint(20, shape, generator=torch.Generator().manual_seed(1))
        answers = exported.run("text_encoder", {"input_ids": words})
        with torch.no_grad():
            expected = encoder(words, output_hidden_states=True)
        assert (answers["last_hidden_state"] - expected.last_hidden_state).abs().max() <= 1e-4
        assert (answers["pooler_output"] - expected.pooler_output).abs().max() <= 1e-4
        for layer, states in enumerate(expected.hidden_states):
            assert (answers[f"hidden_states.{layer}"] - states).abs().max() <= 1e-4


def test_models_bear_the_names_of_the_field_and_tell_where_they_are_from(
    exported: Exported,
) -> None:
    axes = {}
    for name in ("unet", "vae_decoder", "text_encoder"):
        model = onnx.load(exported.out / name / "model.onnx")
        onnx.checker.check_model(model)
        axes[name] = {
            each.name: [
                axis.dim_param or axis.dim_value for axis in each.type.tensor_type.shape.dim
            ]
            for each in model.graph.input
        }
        told = {each.key: each.value for each in model.metadata_props}
        assert told["evounet.spec"] == exported.source.spec.architecture().id
        assert told["evounet.version"]
    assert axes == {
        "unet": {
            "sample": ["batch_size", 4, "height", "width"],
            "timestep": [],
            "encoder_hidden_states": ["batch_size", "sequence_length", 16],
        },
        "vae_decoder": {"latent_sample": ["batch_size", 4, "latent_height", "latent_width"]},
        "text_encoder": {"input_ids": ["batch_size", "sequence_length"]},
    }


def test_folder_has_all_that_a_pipeline_is_made_of(exported: Exported) -> None:
    kind, index = DDIMScheduler.load_config(exported.out, subfolder="scheduler"), exported.out
    assert kind["_class_name"] == "DDIMScheduler"
    assert CLIPTokenizer.from_pretrained(index / "tokenizer")("red").input_ids
    for name in ("unet", "vae_decoder", "text_encoder"):
        assert (index / name / "config.json").is_file()
    for path in index.rglob("*.json"):
        assert str(index.parents[1]) not in path.read_text(), f"{path} names this machine's folder"
    assert [each.name for each in exported.artefacts] == ["text_encoder", "vae_decoder", "unet"]
    assert all(each.size > 0 for each in exported.artefacts)


def test_example_of_the_docs_draws_what_the_pipeline_draws(
    exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = DOCS.read_text().partition("## ONNX")[2]
    example = re.search(r"```python\n(.+?)```", section, re.DOTALL)
    assert example is not None
    monkeypatch.chdir(exported.out.parent)
    exec(example[1], {})
    drawn = np.asarray(Image.open("picture.png")) / 255
    latents = np.random.default_rng(0).standard_normal((1, 4, 8, 8), dtype=np.float32)
    exported.source.pipeline.set_progress_bar_config(disable=True)
    expected = exported.source.pipeline(
        "a large red circle on a white background",
        num_inference_steps=12,
        guidance_scale=4.0,
        latents=torch.from_numpy(latents),
        output_type="np",
    ).images[0]
    assert np.abs(drawn - expected).max() <= 1 / 255


def test_model_that_differs_leaves_nothing(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(network: Network, path: Path, provenance: Mapping[str, str]) -> None:
        model = onnx.load(exported.out / network.name / "model.onnx")
        for weight in model.graph.initializer:
            if weight.data_type == onnx.TensorProto.FLOAT and len(weight.dims) > 1:
                values = onnx.numpy_helper.to_array(weight) + np.float32(0.01)
                weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
        onnx.save(model, path)

    monkeypatch.setattr(exporter, "convert_network", damaged)
    with pytest.raises(ExportError, match=r"text_encoder: ONNX Runtime differs from torch by"):
        export_onnx(exported.source, tmp_path / "out", False, QUIET)
    assert not list(tmp_path.iterdir())


def test_full_disk_leaves_nothing(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_a_full_disk(network: Network, path: Path, provenance: Mapping[str, str]) -> None:
        shutil.copy(exported.out / network.name / "model.onnx", "/dev/full")

    monkeypatch.setattr(exporter, "convert_network", on_a_full_disk)
    with pytest.raises(ExportError, match="no space left on its disk"):
        export_onnx(exported.source, tmp_path / "out", False, QUIET)
    assert not list(tmp_path.iterdir())


def test_large_weights_lie_beside_the_model(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "_LARGEST_BYTES", 0)
    encoder = networks_of(exported.source.pipeline)[0]
    convert_network(encoder, tmp_path / "model.onnx", {})
    weights = tmp_path / "model.onnx.data"
    assert weights.stat().st_size >= 4 * encoder.parameters * 0.9
    assert max_abs_diff(encoder, tmp_path / "model.onnx") <= 1e-4


def test_missing_package_is_named_with_its_remedy(
    exported: Exported, evounet: Evounet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    found, out = exported.out.parents[1] / "found", tmp_path / "out"
    refusal = evounet.refused("export", found, "--format", "onnx", "--out", out)
    assert "onnxscript" in refusal
    assert "pip install 'evounet[onnx]'" in refusal
    assert not out.exists()


@pytest.mark.slow
def test_sdxl_takes_pooled_prompt_and_picture_size_too(tmp_path: Path) -> None:
    pipeline = load_pipeline(save_sdxl_pipeline(tmp_path / "pipeline"))
    names = []
    for network in networks_of(pipeline):
        convert_network(network, tmp_path / f"{network.name}.onnx", {})
        assert max_abs_diff(network, tmp_path / f"{network.name}.onnx") <= 1e-4
        names.append(network.name)
    assert names == ["text_encoder", "text_encoder_2", "vae_decoder", "unet"]
    unet = onnxruntime.InferenceSession(tmp_path / "unet.onnx")
    assert {each.name for each in unet.get_inputs()} >= {"text_embeds", "time_ids"}
