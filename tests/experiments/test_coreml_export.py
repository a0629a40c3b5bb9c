"""``evounet export --format coreml`` and ``evounet export verify``, with a tiny UNet."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import coremltools
import pytest
import torch
from in_process import SMALL, Evounet
from rich.console import Console
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from evaluators.pipelines import load_pipeline
from experiments.export.coreml import conversion, verification
from experiments.export.coreml.choices import Choices
from experiments.export.coreml.exporter import export_coreml
from experiments.export.coreml.interpreter import interpret
from experiments.export.coreml.manifest import Manifest
from experiments.export.coreml.package import read_program
from experiments.export.coreml.swift_runtime import write_tokenizer
from experiments.export.destination import ExportError
from experiments.export.source import ExportSource
from experiments.models import SHAPES, pipeline_source
from supernet.inventory import take_inventory
from supernet.materialize import architecture_of
from supernet.spec import Provenance, build_spec
from supernet.standalone_unet import StandaloneUNet

CHANGES = {"cross_attention down.0/1": 0, "resnet mid/0": 2}


def quiet() -> Console:
    return Console(file=io.StringIO())


def test_the_tokenizer_is_written_as_the_swift_runtime_reads_it(tmp_path: Path) -> None:
    tokenizer = load_pipeline(pipeline_source(SHAPES)).tokenizer
    assert write_tokenizer(tokenizer, tmp_path) == []
    vocabulary = json.loads((tmp_path / "vocab.json").read_text(encoding="utf-8"))
    first, *merges = (tmp_path / "merges.txt").read_text(encoding="utf-8").splitlines()
    assert first.startswith("#")
    ranks = {tuple(line.split(" ")): rank for rank, line in enumerate(merges)}
    assert len(ranks) == len(merges)

    def tokens(word: str) -> list[str]:
        """As the runtime's ``BPETokenizer.encode`` says: the pair of the least rank, until none."""
        pieces = [*word[:-1], word[-1] + "</w>"]
        while known := [p for p in pairwise(pieces) if p in ranks]:
            best = min(known, key=lambda pair: ranks[pair])
            merged: list[str] = []
            for piece in pieces:
                if merged and (merged[-1], piece) == best:
                    merged[-1] += piece
                else:
                    merged.append(piece)
            pieces = merged
        return pieces

    prompt = "a large red circle above a tiny blue square xyzzy"
    ids = [vocabulary[token] for word in prompt.split() for token in tokens(word)]
    assert tokenizer(prompt).input_ids[1:-1] == ids


def test_another_tokenizer_is_told_of(tmp_path: Path) -> None:
    words = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"a": 0})))
    [note] = write_tokenizer(words, tmp_path)
    assert "the Swift runtime will not find vocab.json and merges.txt" in note
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def source() -> ExportSource:
    """The shapes pipeline with a tiny UNet in it."""
    torch.manual_seed(0)
    pipeline = load_pipeline(pipeline_source(SHAPES))
    base = {k: v for k, v in SMALL.items() if not k.startswith("_")}
    base |= {"cross_attention_dim": pipeline.text_encoder.config.hidden_size}
    unet = StandaloneUNet(CHANGES, **base).eval().requires_grad_(False)
    pipeline.unet = unet
    architecture = architecture_of(unet)
    inventory = take_inventory(architecture.base)
    provenance = Provenance(experiment="toy", seed=0, evounet="0", weights=())
    spec = build_spec(inventory, architecture, (), None, provenance)
    return ExportSource("toy", pipeline, spec, None)


@pytest.fixture(scope="module")
def exported(source: ExportSource, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exports") / "out"
    export_coreml(source, Choices(chunk=True), out, False, quiet())
    return out


def test_all_of_a_pipeline_is_in_the_folder(source: ExportSource, exported: Path) -> None:
    assert sorted(each.name for each in exported.iterdir()) == [
        "TextEncoder.mlpackage", "UnetChunk1.mlpackage", "UnetChunk2.mlpackage",
        "VAEDecoder.mlpackage", "coreml.json", "merges.txt", "reference.safetensors", "spec.json",
        "vocab.json",
    ]  # fmt: skip
    manifest = Manifest.load(exported)
    assert [each.name for each in manifest.networks] == ["TextEncoder", "VAEDecoder", "Unet"]
    assert all(each.psnr_db > 40 for each in manifest.networks)
    assert manifest.networks[2].parameters == sum(p.numel() for p in source.unet.parameters())
    assert manifest.architecture == architecture_of(source.unet).id
    assert any("decoderScaleFactor" in note for note in manifest.notes)
    with pytest.raises(ExportError, match="already there; give another --out or --overwrite"):
        export_coreml(source, Choices(), exported, False, quiet())


def test_an_export_is_verified_again(
    exported: Path, evounet: Evounet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert "add --interpreter" in evounet.refused("export", "verify", exported)
    answer = evounet("export", "verify", exported, "--interpreter")
    assert answer.code == 0
    assert re.findall(r"^(\w+): PSNR [\d.]+ dB", answer.out, re.MULTILINE) == [
        "TextEncoder", "VAEDecoder", "Unet",
    ]  # fmt: skip
    monkeypatch.setattr(verification, "MIN_PSNR_DB", 1000.0)
    refused = evounet.refused("export", "verify", exported, "--interpreter")
    assert "out/TextEncoder: differs from torch" in refused


def test_a_damaged_export_is_told_in_one_line(
    exported: Path, tmp_path: Path, evounet: Evounet
) -> None:
    verify = ("export", "verify", tmp_path, "--interpreter")
    assert "holds no Core ML export" in evounet.refused(*verify)
    shutil.copy(exported / "coreml.json", tmp_path)
    assert "reference.safetensors: cannot be read" in evounet.refused(*verify)
    shutil.copy(exported / "reference.safetensors", tmp_path)
    assert "is no readable Core ML program" in evounet.refused(*verify)
    (tmp_path / "coreml.json").write_text('{"version": 2}')
    assert "coreml.json: damaged (field 'version'" in evounet.refused(*verify)


def test_what_is_too_far_from_torch_leaves_nothing(
    source: ExportSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "MIN_PSNR_DB", 1000.0)
    with pytest.raises(ExportError, match="TextEncoder: differs from torch by PSNR"):
        export_coreml(source, Choices(), tmp_path / "out", False, quiet())
    assert not list(tmp_path.iterdir())


def test_options_of_core_ml_are_for_core_ml(evounet: Evounet, tmp_path: Path) -> None:
    refused = evounet.refused(
        "export", tmp_path, "--out", tmp_path / "x", "--format", "spec", "--no-chunk"
    )
    assert "--chunk and --batch are for --format coreml alone" in refused
    bits = evounet("export", tmp_path, "--out", "x", "--format", "coreml", "--weights", "linear-5")
    assert bits.code == 2
    assert "linear-5" in bits.err
    assert "palettize-6" in bits.err


class Mac:
    """Stands in for a model that Core ML has loaded."""

    def __init__(self, package: str) -> None:
        self._package = Path(package)

    def get_spec(self) -> Any:
        return coremltools.utils.load_spec(str(self._package))

    def predict(self, inputs: dict[str, Any]) -> dict[str, Any]:
        program = read_program(self._package)
        assert set(inputs) == {each.name for each in program.inputs}
        given = {name: torch.from_numpy(value) for name, value in inputs.items()}
        return {name: value.numpy() for name, value in interpret(program, given).items()}


def test_a_mac_predicts_with_core_ml_itself(
    exported: Path, evounet: Evounet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coremltools.models, "MLModel", Mac)
    monkeypatch.setattr(sys, "platform", "darwin")
    answer = evounet("export", "verify", exported)
    assert answer.code == 0
    assert answer.out.count("PSNR") == 3


def test_a_full_disk_is_told_in_one_line(
    source: ExportSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy(*_: object, **__: object) -> None:
        raise shutil.Error([("a", "b", "[Errno 28] No space left on device: 'b'")])

    # As coremltools does, which writes elsewhere and copies.
    monkeypatch.setattr(conversion, "ml_program", copy)
    with pytest.raises(ExportError, match="out: no space left on its disk, nothing was written"):
        export_coreml(source, Choices(), tmp_path / "out", False, quiet())
    assert not list(tmp_path.iterdir())
