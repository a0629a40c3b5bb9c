"""Which profiler a command means, and that a table's command means its own."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from in_process import invented_table

from experiments.profilers import (
    ProfilerChoice,
    make_profiler,
    profiler_arguments,
    usual_table_name,
)
from latency_tables import (
    CoreMLProfiler,
    LatencyRow,
    LatencyTable,
    OnnxRuntimeProfiler,
    TableError,
    TableMetadata,
    TorchCpuProfiler,
)
from latency_tables.contract import SMALL_SIGNATURES

CHOICES = {
    "cpu": ProfilerChoice("cpu", "bf16", threads=1),
    "cpu, other layout": ProfilerChoice("cpu", "fp32", 2, "channels_last", compiled=True),
    "onnxruntime": ProfilerChoice("onnxruntime", threads=3),
    "coreml": ProfilerChoice("coreml", "fp32", compute_unit="all", packages=Path("nowhere")),
}


def table_of(choice: ProfilerChoice) -> LatencyTable:
    metadata = TableMetadata(
        name="here",
        method="measured",
        measured_how="twice",
        measured_at=date(2026, 11, 25),
        command="evounet profile",
        **make_profiler(choice).describe(),
    )
    return LatencyTable(metadata, {SMALL_SIGNATURES[0]: LatencyRow(1.0, 0.0, 2)})


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
def test_a_table_is_extended_under_its_own_conditions(choice: ProfilerChoice) -> None:
    table = table_of(choice)
    packages = choice.packages
    again = make_profiler(ProfilerChoice(packages=packages).completed_by(table))
    assert type(again) is type(make_profiler(choice))
    assert again.describe() == make_profiler(choice).describe()


def test_what_the_user_asks_for_goes_before_the_tables() -> None:
    table = table_of(CHOICES["cpu"])
    choice = ProfilerChoice(precision="fp32").completed_by(table)
    assert (choice.precision, choice.threads) == ("fp32", 1)
    onnx = ProfilerChoice(device="onnxruntime").completed_by(table_of(CHOICES["onnxruntime"]))
    assert isinstance(make_profiler(onnx), OnnxRuntimeProfiler)


def test_the_usual_choice() -> None:
    assert make_profiler(ProfilerChoice()).describe() == TorchCpuProfiler("fp32").describe()
    coreml = make_profiler(ProfilerChoice("coreml"))
    assert isinstance(coreml, CoreMLProfiler)
    assert (coreml.precision, coreml.compute_unit) == ("fp16", "cpu_and_ne")
    assert coreml.packages == Path("coreml-packages-fp16")


def test_a_table_that_nobody_here_measured_is_not_extended() -> None:
    other = invented_table("shapes", runtime="tensorrt")
    with pytest.raises(TableError, match="evounet profile cannot add rows to latency table 'toy'"):
        ProfilerChoice().completed_by(other)


def test_arguments_say_the_conditions() -> None:
    described = {name: make_profiler(choice).describe() for name, choice in CHOICES.items()}
    arguments = {name: profiler_arguments(each) for name, each in described.items()}
    assert arguments == {
        "cpu": ["--device=cpu", "--precision=bf16", "--threads=1"],
        "cpu, other layout": [
            *("--device=cpu", "--precision=fp32", "--threads=2"),
            *("--channels-last", "--compile"),
        ],
        "onnxruntime": ["--device=onnxruntime", "--precision=fp32", "--threads=3"],
        "coreml": ["--device=coreml", "--precision=fp32", "--compute-unit=all"],
    }
    cuda = described["cpu"] | {"compute_unit": "cuda", "precision": "fp16-autocast"}
    cuda["threads"] = None
    assert profiler_arguments(cuda) == ["--device=cuda", "--precision=fp16", "--autocast"]


def test_a_table_is_named_after_what_it_was_measured_on() -> None:
    conditions = make_profiler(CHOICES["cpu, other layout"]).describe()
    conditions["chip"] = "AMD EPYC(TM) 9B14"
    assert usual_table_name(conditions) == ("amd-epyc-tm-9b14-2core-fp32-channels-last-compiled")
    coreml = make_profiler(CHOICES["coreml"]).describe() | {"chip": "Apple A16"}
    assert usual_table_name(coreml) == "apple-a16-coreml-all-fp32"


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (ProfilerChoice("cuda", threads=2), "--threads does not apply to device cuda; it has --ch"),
        (ProfilerChoice("cpu", autocast=True), "--autocast does not apply to device cpu"),
        (ProfilerChoice("onnxruntime", compiled=True), "--compile does not apply to device onnxr"),
        (ProfilerChoice("cpu", "fp16"), "precision 'fp16' is unknown; use fp32 or bf16"),
    ],
)
def test_what_a_device_does_not_have_is_refused(choice: ProfilerChoice, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_profiler(choice)
