"""``evounet distill decoder`` from the outside: what it leaves, going on, and bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from in_process import Evounet

from distillation.decoders import decoder_of
from distillation.efficient_autoencoder import EfficientAutoencoderKL

SMALL = (
    "--pairs=8",
    "--set=decoder.pairs.shard_size=4",
    "--set=decoder.pairs.sampling.num_inference_steps=2",
    "--set=decoder.pairs.sampling.batch_size=4",
    "--set=decoder.training.steps=3",
    "--set=decoder.training.batch_size=4",
    "--set=comparison.prompts.count=4",
    "--set=comparison.repetitions=3",
    "--set=workers.count=1",
)


@pytest.fixture
def evounet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Evounet:
    return Evounet(monkeypatch, capsys)


def files_of(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def test_a_run_leaves_pairs_autoencoder_and_result(evounet: Evounet, tmp_path: Path) -> None:
    run = tmp_path / "run"
    answer = evounet("distill", "decoder", "decoder", "--run", run, *SMALL)
    assert answer.code == 0, answer.err
    assert "student / teacher" in answer.out
    assert files_of(run) >= {"experiment.toml", "pairs", "comparison-pairs", "vae", "result.json"}
    result = json.loads((run / "result.json").read_text())
    assert result["decoder"]["channels"] == [32, 16, 8]
    assert result["parameters_student"] < 0.3 * result["parameters_teacher"]
    student = EfficientAutoencoderKL.from_pretrained(run / "vae")
    assert decoder_of(student).sizes == result["decoder"]
    # Another run begins where it ended, and without a step is what it was.
    start = (f"--set=decoder.start={run}", "--set=decoder.training.steps=0")
    further = evounet(
        "distill", "decoder", "decoder", "--run", tmp_path / "further", *SMALL, *start
    )
    assert further.code == 0, further.err
    further_result = json.loads((tmp_path / "further" / "result.json").read_text())
    assert further_result["psnr_db"] == result["psnr_db"]
    assert "is of a decoder of other sizes" in evounet.refused(
        "distill",
        "decoder",
        "decoder",
        "--run",
        tmp_path / "x",
        start[0],
        "--set=decoder.sizes.attention=true",
    )
    # Called again it does nothing but measure anew.
    (run / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    again = evounet("distill", "decoder", "decoder", "--run", run, *SMALL)
    assert again.code == 0, again.err
    assert json.loads((run / "result.json").read_text())["psnr_db"] == result["psnr_db"]
    restored = EfficientAutoencoderKL.from_pretrained(run / "vae")
    weights = student.state_dict()
    assert all(torch.equal(w, weights[name]) for name, w in restored.state_dict().items())
    # Other settings, and other commands, leave it alone.
    other = evounet.refused("distill", "decoder", "decoder", "--run", run, *SMALL[1:])
    assert "is a run with other settings" in other
    assert "call 'evounet distill decoder' again" in evounet.refused("resume", run)


def test_a_tiny_decoder_is_trained_alike(evounet: Evounet, tmp_path: Path) -> None:
    run, table = tmp_path / "run", tmp_path / "mine"
    tiny = ("--decoder", "--tiny=8", "--table", table, "--rounds=2", "--threads=1")
    assert evounet("profile", "shapes", *tiny).code == 0
    settings = ("decoder.sizes={kind='tiny', width=8}", f"latency.tables=['{table}.toml']")
    options = [*SMALL, *(f"--set={each}" for each in settings)]
    answer = evounet("distill", "decoder", "decoder", "--run", run, *options)
    assert answer.code == 0, answer.err
    result = json.loads((run / "result.json").read_text())
    assert result["decoder"] == {"kind": "tiny", "width": 8, "blocks": [3, 3, 1]}
    assert result["decoder_ms_student_mine"] < result["decoder_ms_teacher_mine"]
    student = EfficientAutoencoderKL.from_pretrained(run / "vae")
    assert decoder_of(student).sizes == result["decoder"]
    again = evounet("distill", "decoder", "decoder", "--run", run, *options)
    assert again.code == 0, again.err


def test_pairs_can_be_streamed(evounet: Evounet, tmp_path: Path) -> None:
    run = tmp_path / "run"
    streaming = "--set=decoder.pairs.stream=true"
    answer = evounet("distill", "decoder", "decoder", "--run", run, *SMALL, streaming)
    assert answer.code == 0, answer.err
    assert "vae" in files_of(run)
    assert "pairs" not in files_of(run)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("decoder.sizes.ratio=1.5", "ratio 1.5: give a share above 0, up to 1"),
        ("decoder.sizes.ratio=0.6", "--decoder --ratio 0.6 --table epyc-1core-fp32"),
        ("decoder.sizes={ kind = 'tiny', width = 8 }", "--tiny 8:3,3,1 --table epyc-1core-fp32"),
        ("decoder.sizes={ kind = 'large' }", "kinds of decoders are inherited (the default) and"),
        ("decoder.sizes={ kind = 'tiny', ratio = 0.5 }", "unknown key 'decoder.sizes.ratio'"),
        ("decoder.pairs.prompts.source=nowhere.txt", "nowhere.txt: no readable text file"),
        ("decoder.training.loss.mse=0", "mse and lpips are both 0"),
        ("decoder.training.steps=x", "'decoder.training.steps' is \"x\""),
        ("decoder.start=nowhere", "nowhere/checkpoints/decoder.safetensors: cannot be read"),
        ("decoder.width=3", "unknown key 'decoder.width'"),
        (
            "decoder={ workers = 2, pairs = { stream = true } }",
            "pairs that are streamed are not shared among workers",
        ),
    ],
)
def test_bad_input_is_told_and_leaves_nothing(
    evounet: Evounet, tmp_path: Path, wrong: str, message: str
) -> None:
    run = tmp_path / "run"
    answer = evounet("distill", "decoder", "decoder", "--run", run, "--set", wrong)
    assert answer.code == 2
    assert message in answer.err
    assert not run.exists()
