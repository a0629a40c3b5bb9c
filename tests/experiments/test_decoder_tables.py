"""Latency tables of image decoders: rows, the sum of them, and calibration by whole passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from in_process import Evounet, write_json

from distillation.decoders import decoder_of
from evaluators.decoder_latency import (
    decoder_overhead,
    measure_decoders,
    sum_of_parts_ms,
    table_latency_ms,
)
from experiments.calibration import WholeModel, fitted
from experiments.decoder.calibration import random_decoder
from experiments.decoder.choice import choose_decoders
from latency_tables import MissingRowsError, TorchCpuProfiler, load_table, read_table

# Two stages of 16 and 8 channels, as seen from the latents.
SMALL: dict[str, Any] = {
    "_class_name": "AutoencoderKL",
    "block_out_channels": [8, 16],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "norm_num_groups": 4,
    "sample_size": 16,
}


@pytest.fixture
def vae(tmp_path: Path) -> Path:
    return write_json(tmp_path / "pipeline" / "vae" / "config.json", SMALL).parent.parent


@pytest.fixture
def evounet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Evounet:
    return Evounet(monkeypatch, capsys)


def test_rows_are_measured_and_calibrated(
    evounet: Evounet, vae: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, half = choose_decoders(str(vae), [0.5]).architectures
    table = tmp_path / "mine"
    profile = ("profile", vae, "--decoder", "--table", table, "--threads=1", "--rounds=3")
    answer = evounet(*profile)
    assert answer.code == 0, answer.err
    assert f"one pass of the decoder of {vae} by this table" in answer.out
    with pytest.raises(MissingRowsError, match="resnet 8->8"):
        table_latency_ms(half, read_table(table))
    assert evounet(*profile, "--ratio=0.5").code == 0
    before = read_table(table)
    assert table_latency_ms(half, before) == sum_of_parts_ms(half, before)

    def timed(decoders: list[Any], *_: object, repetitions: int, **__: object) -> list[list[float]]:
        """Whole passes as a machine would time them that nothing else uses."""
        sums = (sum_of_parts_ms(decoder_of(each), before) for each in decoders)
        return [[0.1 + 0.5 * own] * repetitions for own in sums]

    monkeypatch.setattr("experiments.decoder.calibration.measure_decoders", timed)
    command = ("tables", "calibrate", vae, "--decoder", "--ratio=0.5", "--table", table)
    answer = evounet(*command, "--rounds=3")
    assert answer.code == 0, answer.err
    after = read_table(table)
    (calibration,) = after.metadata.calibrations
    assert calibration.architectures == 6  # both as they are, with one ResNet, without attention
    for each in (full, half):
        expected = 0.1 + 0.5 * sum_of_parts_ms(each, before)
        assert table_latency_ms(each, after) == pytest.approx(expected, rel=1e-2)


def test_tiny_decoders_have_rows_of_their_own(evounet: Evounet, vae: Path, tmp_path: Path) -> None:
    _, tiny = choose_decoders(str(vae), tiny=[(8, (1, 1))]).architectures
    table = tmp_path / "mine"
    profile = ("profile", vae, "--decoder", "--table", table, "--threads=1", "--rounds=2")
    assert evounet(*profile).code == 0
    with pytest.raises(MissingRowsError, match="tiny_block 8->8 @ 8x8 b1"):
        table_latency_ms(tiny, read_table(table))
    answer = evounet(*profile, "--tiny=8:1,1")
    assert answer.code == 0, answer.err
    assert "(tiny, 8 channels, blocks 1-1)" in answer.out
    measured = read_table(table)
    blocks = [row for row in measured.rows if row.kind == "tiny_block"]
    assert [(row.height, row.in_channels) for row in blocks] == [(8, 8), (16, 8)]
    assert 0 < table_latency_ms(tiny, measured) == sum_of_parts_ms(tiny, measured)


def test_whole_decoders_are_timed_in_turns(vae: Path) -> None:
    decoders = [random_decoder(each) for each in choose_decoders(str(vae), [0.5]).architectures]
    times = measure_decoders(decoders, TorchCpuProfiler(threads=1), batch=2, repetitions=4)
    assert [len(each) for each in times] == [4, 4]
    assert all(0 < ms < 10_000 for each in times for ms in each)


def test_overhead_and_factor_are_those_of_the_base_alone() -> None:
    table = load_table("epyc-1core-fp32").uncalibrated()
    full, half = choose_decoders("shapes", [0.5]).architectures
    sums = [sum_of_parts_ms(each, table) for each in (full, half, half.shortened(1))]
    times = [[0.7 * each + 0.3] * 3 for each in sums]
    whole = WholeModel("shapes", full.base.digest, decoder_overhead(full.base))
    calibrated = fitted(whole, table, sums, times, "none")
    assert table_latency_ms(half, calibrated) == pytest.approx(times[1][0], rel=1e-3)
    assert table_latency_ms(half, table) == sums[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("shapes", "--ratio=0.5"), "--ratio is for --decoder"),
        (("shapes", "--decoder", "--ratio=half"), "--ratio half: write it like 0.5"),
        (("shapes", "--decoder", "--ratio=0.5,0.5"), "one for every stage"),
        (("shapes", "--tiny=8"), "--tiny is for --decoder"),
        (("shapes", "--decoder", "--tiny=small"), "--tiny small: write it like 32 or 32:3,3,3,1"),
        (("shapes", "--decoder", "--tiny=8:1"), "blocks are [1]; give 3, one for every stage"),
        (("nothing", "--decoder"), "unknown decoder 'nothing'; give one of shapes, sd15"),
    ],
)
def test_bad_choices_are_told(evounet: Evounet, arguments: tuple[str, ...], message: str) -> None:
    assert message in evounet.refused("profile", *arguments, "--table=mine")


def test_a_unet_is_no_decoder(evounet: Evounet, tmp_path: Path) -> None:
    config = {**SMALL, "_class_name": "UNet2DConditionModel"}
    folder = write_json(tmp_path / "config.json", config).parent
    refusal = evounet.refused("profile", folder, "--decoder", "--table=mine")
    assert "field '_class_name' is 'UNet2DConditionModel'" in refusal
