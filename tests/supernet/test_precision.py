"""Which precision "auto" is, by what a device has instructions for, and that trainings take it."""

from __future__ import annotations

import warnings

import pytest
import torch

from supernet import precision as precisions
from supernet import training_context
from supernet.precision import Precision, settled_precision
from supernet.training_context import autocast
from supernet.training_settings import OptimizationSettings


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_what_is_given_stays(precision: Precision, device: str) -> None:
    assert settled_precision(precision, device) == precision


@pytest.mark.parametrize(
    ("capability", "has_instructions", "expected"),
    [
        ("AVX2", False, "fp32"),
        ("AVX512", False, "fp32"),  # where oneDNN would take bf16, slowly
        ("AVX512", True, "bf16"),
    ],
)
def test_processors_take_what_they_have_instructions_for(
    monkeypatch: pytest.MonkeyPatch, capability: str, has_instructions: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_instructions)
    assert settled_precision("auto", "cpu") == expected


@pytest.mark.parametrize(
    ("is_here", "has_instructions", "expected"),
    [(True, True, "bf16"), (True, False, "fp32"), (False, False, "bf16")],
)
def test_gpus_likewise_and_other_machines_have_such(
    monkeypatch: pytest.MonkeyPatch, is_here: bool, has_instructions: bool, expected: str
) -> None:
    def supported(including_emulation: bool) -> bool:
        assert not including_emulation
        return has_instructions

    monkeypatch.setattr(torch.cuda, "is_available", lambda: is_here)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert settled_precision("auto", "cuda") == expected


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_trainings_are_in_it_unless_they_say_otherwise(
    monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    monkeypatch.setattr(training_context, "settled_precision", lambda given, device: precision)
    settings = OptimizationSettings(steps=1)
    assert settings.precision == "auto"
    layer = torch.nn.Linear(2, 2)
    with autocast(settings.precision, torch.device("cpu")):
        dtype = layer(torch.ones(1, 2)).dtype
    assert dtype == {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]


@pytest.mark.parametrize("has_instructions", [False, True])
def test_bf16_without_instructions_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, has_instructions: bool
) -> None:
    monkeypatch.setattr(precisions, "_has_bf16", lambda device: has_instructions)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for precision in ("auto", "fp32", "bf16"):
            autocast(precision, torch.device("cpu"))
    expected = [] if has_instructions else ["this cpu has no bf16 instructions and takes many"]
    assert [str(each.message)[:48] for each in told] == expected
