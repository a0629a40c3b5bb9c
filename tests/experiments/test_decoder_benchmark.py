"""``evounet bench decoder``: a small run of the whole, and the paper's reduction in weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from in_process import Evounet

from distillation.decoder_parts import decoder_parts, latent_size, parameters
from distillation.decoders import decoder_of
from distillation.efficient_autoencoder import EfficientAutoencoderKL
from evaluators.decoder_latency import table_latency_ms
from evaluators.pipelines import load_pipeline
from experiments.benchmarks import decoder
from experiments.decoder.choice import choose_decoders
from experiments.models import SHAPES_DECODER, pipeline_source
from latency_tables import load_table


def test_half_the_channels_are_a_quarter_of_the_weights_and_of_the_work() -> None:
    full, half = choose_decoders("sd15", [0.5]).architectures
    assert 0.24 < parameters(half) / parameters(full) < 0.26  # 50 M to 13 M in the paper
    macs = [sum(part.macs for part in decoder_parts(each, 1, 64, 64)) for each in (full, half)]
    assert 0.24 < macs[1] / macs[0] < 0.26
    assert latent_size(half) == (64, 64)


def test_the_shipped_decoder_is_the_shipped_autoencoder_s_smaller_one() -> None:
    student = EfficientAutoencoderKL.from_pretrained(SHAPES_DECODER)
    teacher = load_pipeline(pipeline_source("shapes")).vae
    theirs = teacher.state_dict()
    for name, weight in student.state_dict().items():
        if name.startswith(("encoder.", "quant_conv.")):
            assert torch.equal(weight.float(), theirs[name]), name
    table = load_table("epyc-1core-fp32")
    (full,) = choose_decoders("shapes").architectures
    assert decoder_of(student).base == full.base
    assert table_latency_ms(decoder_of(student), table) < 0.5 * table_latency_ms(full, table)


def test_a_small_run_has_every_figure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    size = decoder._Size(drawn=4, steps=2, timed=3, sd15_pixels=32, sd15_timed=2)
    monkeypatch.setattr(decoder, "_QUICK", size)
    file = tmp_path / "decoder.json"
    answer = Evounet(monkeypatch, capsys)("bench", "decoder", "--quick", "--json", file)
    assert answer.code == 0, answer.err
    result = json.loads(file.read_text())
    goals = {name: goal["goal"] for name, goal in result["goals"].items()}
    assert goals == {
        "speedup": ">= 3",
        "parameters_pct": "<= 30",
        "psnr_db": ">= 32",
        "clip_loss_pct": "<= 0.5",
        "sd15_latency_pct": "<= 35",
        "sd15_parameters_pct": "<= 30",
    }
    figures = result["figures"]
    assert figures.keys() - goals.keys() == {"speedup_one", "ssim"}
    assert result["goals"]["parameters_pct"]["met"]
    assert result["goals"]["sd15_parameters_pct"]["met"]
    assert 20 < figures["psnr_db"] < 100
