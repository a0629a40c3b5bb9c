"""What is exported draws what was found, also where evounet is not; or nothing is written."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from finished_run import finished_run, write_spec
from in_process import Evounet
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from distillation.decoder_architecture import DecoderArchitecture
from distillation.decoders import autoencoder_config, decoder_of
from distillation.inheritance import inherit
from distillation.tiny_architecture import TinyDecoderArchitecture
from evaluators.pipelines import load_pipeline, save_pipeline
from experiments.export.source import open_source
from experiments.models import pipeline_source
from experiments.run_folder import RunFolder
from supernet.spec import read_spec

# What no stock configuration says, and what one does.
OWN_CODE = {
    "resnet down.1/1": 0,
    "cross_attention up.2/0": 0,
    "resnet mid/0": 2,
    "resnet up.0/0": 2,
}
STOCK = {"cross_attention down.0/0": 0, "cross_attention down.0/1": 0} | dict.fromkeys(
    ("resnet mid/0", "cross_attention mid/0", "resnet mid/1"), 0
)
PROMPT, STEPS = "a small red circle left of a large blue star on a gray background", 3

# Run where no package of evounet can be imported.
ELSEWHERE = """
import sys
from importlib.abc import MetaPathFinder

class Forbidden(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {rooms}:
            raise ImportError(f"{{name}} is not installed here")

sys.meta_path.insert(0, Forbidden())
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import save_file

pipeline = DiffusionPipeline.from_pretrained({folder!r}, **{options!r})
images = pipeline({prompt!r}, num_inference_steps={steps}, output_type="pt",
                  generator=torch.Generator().manual_seed(7)).images
save_file({{"images": images}}, {out!r})
"""
ROOMS = ("latency_tables", "supernet", "distillation", "evaluators", "search", "experiments")


def draw(pipeline: DiffusionPipeline) -> Tensor:
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(7)
    images: Tensor = pipeline(
        PROMPT, num_inference_steps=STEPS, output_type="pt", generator=generator
    ).images
    return images


def draw_elsewhere(folder: Path, tmp_path: Path, **options: object) -> Tensor:
    """Pictures by an exported folder alone, in a process that has no evounet."""
    out = tmp_path / "images.safetensors"
    code = ELSEWHERE.format(
        rooms=ROOMS, folder=str(folder), options=options, prompt=PROMPT, steps=STEPS, out=str(out)
    )
    environment = os.environ | {"HF_MODULES_CACHE": str(tmp_path / "modules")}
    environment.pop("PYTHONPATH", None)
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment)
    return load_file(out)["images"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return finished_run(tmp_path_factory.mktemp("runs") / "own", OWN_CODE)


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return finished_run(tmp_path_factory.mktemp("runs") / "stock", STOCK)


@pytest.fixture
def run(made: RunFolder, tmp_path: Path) -> RunFolder:
    """One that a test may spoil."""
    shutil.copytree(made.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def test_it_draws_bit_for_bit_where_evounet_is_not(
    evounet: Evounet, made: RunFolder, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    answer = evounet("export", made.path, "--out", out)
    assert answer.code == 0, answer.err
    assert "draws the found UNet's pictures bit for bit" in answer.out
    drawn = draw_elsewhere(out, tmp_path, trust_remote_code=True)
    assert torch.equal(drawn, draw(open_source(made.path).pipeline))
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        DiffusionPipeline.from_pretrained(out)


def test_what_stock_diffusers_can_say_needs_no_code(
    evounet: Evounet, stock: RunFolder, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert evounet("export", stock.path, "--out", out).code == 0
    assert not list(out.rglob("*.py"))
    assert "trust_remote_code" not in (out / "README.md").read_text()
    pipeline = DiffusionPipeline.from_pretrained(out)
    assert type(pipeline.unet) is UNet2DConditionModel
    assert pipeline.unet.mid_block is None
    assert pipeline.unet.num_parameters() == read_spec(stock.spec).parameters[1]
    assert torch.equal(draw(pipeline), draw(open_source(stock.path).pipeline))


@pytest.mark.parametrize("tiny", [False, True])
def test_a_smaller_decoder_draws_where_evounet_is_not(
    evounet: Evounet, made: RunFolder, tmp_path: Path, tiny: bool
) -> None:
    """Beside a stock UNet, and beside one that brings its code too, as whole runs leave both."""
    stock = load_pipeline(pipeline_source("shapes"))
    pipeline = stock if tiny else open_source(made.path).pipeline
    full = DecoderArchitecture.full(autoencoder_config(pipeline.vae))
    sized = full.narrowed(0.5).shortened(1, 0).without_attention()
    smaller = TinyDecoderArchitecture.like_taesd(full.base, 8) if tiny else sized
    pipeline.register_modules(vae=inherit(pipeline.vae, smaller))
    source, out = tmp_path / "source", tmp_path / "out"
    save_pipeline(pipeline, source)
    answer = evounet("export", source, "--out", out)
    assert answer.code == 0, answer.err
    code = (
        ["efficient_autoencoder.py"] if tiny else ["efficient_autoencoder.py", "standalone_unet.py"]
    )
    assert sorted(path.name for path in out.rglob("*.py")) == code
    assert "`vae/efficient_autoencoder.py`" in (out / "README.md").read_text()
    drawn = draw_elsewhere(out, tmp_path, trust_remote_code=True)
    loaded = load_pipeline(str(out))
    assert decoder_of(loaded.vae) == smaller
    assert torch.equal(drawn, draw(loaded))


def test_sizes_that_no_decoder_has_are_refused(evounet: Evounet, tmp_path: Path) -> None:
    pipeline = load_pipeline(pipeline_source("shapes"))
    full = DecoderArchitecture.full(autoencoder_config(pipeline.vae))
    pipeline.register_modules(vae=inherit(pipeline.vae, full))
    save_pipeline(pipeline, tmp_path / "made")
    config = tmp_path / "made" / "vae" / "config.json"
    value = json.loads(config.read_text())
    for sizes, told in (
        (value["decoder_sizes"] | {"mid_resnets": 3}, "mid_resnets is 3; give 0 to 2"),
        ([1], "decoder_sizes is [1]; give an object"),
    ):
        config.write_text(json.dumps(value | {"decoder_sizes": sizes}))
        line = evounet.refused("export", tmp_path / "made", "--out", tmp_path / "out")
        assert told in line


@pytest.mark.parametrize("changed", ["made", "stock"])
def test_an_export_is_exported_again(
    evounet: Evounet, changed: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    evounet("export", request.getfixturevalue(changed).path, "--out", first)
    answer = evounet("export", first, "--out", second)
    assert answer.code == 0, answer.err
    for path in (p for p in first.rglob("*") if p.is_file()):
        assert path.read_bytes() == (second / path.relative_to(first)).read_bytes(), path


def test_half_precision_and_shards(evounet: Evounet, made: RunFolder, tmp_path: Path) -> None:
    out = tmp_path / "out"
    answer = evounet(
        "export", made.path, "--out", out, "--variant", "fp16", "--max-shard-size", "4MB"
    )
    assert answer.code == 0, answer.err
    shards = sorted((out / "unet").glob("*.safetensors"))
    assert len(shards) > 1
    assert all(".fp16" in path.name for path in out.rglob("*.safetensors"))
    assert {weight.dtype for path in shards for weight in load_file(path).values()} == {
        torch.float16
    }
    spec = read_spec(out / "spec.json")
    assert [each.file for each in spec.provenance.weights] == [f"unet/{p.name}" for p in shards]
    loaded = DiffusionPipeline.from_pretrained(
        out, variant="fp16", torch_dtype=torch.float16, trust_remote_code=True
    )
    for name, weight in open_source(made.path).unet.state_dict().items():
        assert torch.equal(loaded.unet.state_dict()[name], weight.half()), name
    [difference] = re.findall(r"pictures within ([0-9.]+) of fp32", answer.out)
    assert 0 < float(difference) < 0.05
    assert 'variant="fp16"' in (out / "README.md").read_text()


def test_a_size_that_is_none(evounet: Evounet, made: RunFolder, tmp_path: Path) -> None:
    line = evounet.refused(
        "export", made.path, "--out", tmp_path / "out", "--max-shard-size", "much"
    )
    assert "--max-shard-size is 'much'; write it like 2GB" in line


def test_the_model_card_tells_what_was_changed_and_shows_pictures(
    evounet: Evounet, made: RunFolder, tmp_path: Path
) -> None:
    evounet("export", made.path, "--out", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    spec = read_spec(made.spec)
    assert "removed down_blocks.1.resnets.1, parameters 6.942 M to " in card
    assert "added 1 copy behind mid_block.resnets.0, parameters" in card
    assert f"| parameters | 6.942 M | {spec.parameters[1] / 1e6:.3f} M |" in card
    assert "| latency by toy | 30.00 ms | 15.00 ms |" in card
    assert "![](samples/found-00.png)" in card
    assert (tmp_path / "out" / "samples" / "found-00.png").exists()
    for path in (tmp_path / "out").rglob("*.json"):
        assert str(Path.cwd()) not in path.read_text(), path
        assert str(tmp_path) not in path.read_text(), path


def test_the_table_tells_size_parameters_and_latency(
    evounet: Evounet, made: RunFolder, tmp_path: Path
) -> None:
    answer = evounet("export", made.path, "--format", "spec", "--out", tmp_path / "spec.json")
    spec = read_spec(tmp_path / "spec.json")
    assert spec == read_spec(made.spec)
    assert f"{spec.parameters[1]:,}" in answer.out
    assert "toy ms" in answer.out
    assert "15.00" in answer.out


def refused(evounet: Evounet, run: RunFolder, format_: str = "diffusers") -> str:
    """The line that an export ends with, after which nothing is there that was not before."""
    out = run.path.parent / "out"
    before = sorted(run.path.parent.rglob("*"))
    line = evounet.refused("export", run.path, "--format", format_, "--out", out)
    assert sorted(run.path.parent.rglob("*")) == before
    return line


@pytest.mark.parametrize("format_", ["diffusers", "spec"])
def test_weights_that_are_not_those_of_the_spec(
    evounet: Evounet, run: RunFolder, format_: str
) -> None:
    weights = run.unet / "diffusion_pytorch_model.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    assert "these weights are not those of" in (line := refused(evounet, run, format_))
    assert "their SHA-256 is" in line
    weights.unlink()
    assert "are missing; copy the folder again" in refused(evounet, run, format_)


def test_weights_that_are_not_those_of_a_spec_of_version_1(
    evounet: Evounet, run: RunFolder
) -> None:
    spec = json.loads(run.spec.read_text())
    digest = spec["provenance"].pop("weights")[0]["sha256"][:12]
    spec["provenance"]["weights"] = digest
    spec["version"] = 1
    spec["provenance"].pop("tensors")
    run.spec.write_text(json.dumps(spec))
    assert f"their digest is not {digest}" in refused(evounet, run)


def test_a_spec_of_another_unet(evounet: Evounet, run: RunFolder, stock: RunFolder) -> None:
    spec, other = read_spec(run.spec), read_spec(stock.spec)
    write_spec(run, other.model_copy(update={"provenance": spec.provenance}))
    assert "they are of another architecture" in refused(evounet, run)
    base = spec.base | {"norm_eps": 1e-3}
    write_spec(run, spec.model_copy(update={"base": base}))
    assert "they are of another base UNet" in refused(evounet, run)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError('I/O error: No space left on device (os error 28) at path "x"'),
    ],
)
def test_no_space_on_the_disk(
    evounet: Evounet, run: RunFolder, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("diffusers.AutoencoderKL.save_pretrained", full)
    assert "no space left on its disk, nothing was written; make room" in refused(evounet, run)


@pytest.mark.parametrize("format_", ["diffusers", "spec"])
def test_what_is_there_stays_unless_it_may_go(
    evounet: Evounet, run: RunFolder, format_: str
) -> None:
    out = run.path.parent / "out"
    out.write_text("mine")
    assert f"{out}: already there; give another --out" in refused(evounet, run, format_)
    assert out.read_text() == "mine"
    answer = evounet("export", run.path, "--format", format_, "--out", out, "--overwrite")
    assert answer.code == 0, answer.err
    assert out.is_dir() == (format_ == "diffusers")
