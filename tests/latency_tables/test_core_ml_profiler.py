"""Core ML: packages and their manifest here, and a Mac's half with a stand-in for its runtime."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import coremltools
import pytest

from latency_tables import BlockSignature, CoreMLProfiler, TableError
from latency_tables.contract import SMALL_SIGNATURES, ProfilerContract
from latency_tables.profilers import core_ml

SHORTCUT, CONCAT = SMALL_SIGNATURES[4], SMALL_SIGNATURES[-1]


class LoadedModel:
    """What Core ML on a Mac would make of a package."""

    def __init__(self, package: Path, compute_unit: str) -> None:
        self.spec = coremltools.models.MLModel(str(package), skip_model_load=True).get_spec()
        self.compute_unit = compute_unit
        self.calls: list[dict[str, Any]] = []

    def get_spec(self) -> Any:
        return self.spec

    def predict(self, inputs: dict[str, Any]) -> None:
        self.calls.append(inputs)


@pytest.fixture
def on_a_mac(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CoreMLProfiler, "can_measure", True)
    monkeypatch.setattr(core_ml, "_load", LoadedModel)


class TestOnAMac(ProfilerContract):
    signatures = (SHORTCUT, CONCAT)

    @pytest.fixture
    def profiler(self, on_a_mac: None, tmp_path: Path) -> CoreMLProfiler:
        return CoreMLProfiler(tmp_path)


@pytest.mark.slow
class TestOnAMacWithEveryKind(TestOnAMac):
    signatures = SMALL_SIGNATURES


def test_a_block_is_loaded_for_the_unit_that_was_asked_for(on_a_mac: None, tmp_path: Path) -> None:
    run = CoreMLProfiler(tmp_path, compute_unit="cpu_and_gpu").prepare(CONCAT)
    model = run.func.__self__
    assert model.compute_unit == "cpu_and_gpu"
    run()
    [inputs] = model.calls
    assert sorted(each.shape for each in inputs.values()) == [(2, 16, 8, 8), (2, 24, 8, 8)]


def test_packages_are_written_once_and_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profiler = CoreMLProfiler(tmp_path)
    seen: list[int] = []
    profiler.write_all([SHORTCUT, CONCAT], seen.append)
    assert seen == [1, 2]
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["precision"] == "fp16"
    files = {each["file"]: BlockSignature(**each["signature"]) for each in manifest["blocks"]}
    assert list(files.values()) == [SHORTCUT, CONCAT]
    assert all((tmp_path / name / "Manifest.json").is_file() for name in files)

    monkeypatch.setattr(core_ml, "_convert", pytest.fail)
    again = CoreMLProfiler(tmp_path)
    again.write_all([CONCAT, SHORTCUT])


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac measures")
def test_elsewhere_nothing_is_measured(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="Core ML runs on macOS alone; write the packages here"):
        CoreMLProfiler(tmp_path).prepare(SHORTCUT)


def test_bad_choices_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="precision 'bf16' is unknown; use fp16 or fp32"):
        CoreMLProfiler(tmp_path, "bf16")
    with pytest.raises(ValueError, match="compute unit 'npu' is unknown; use one of all, cpu_and"):
        CoreMLProfiler(tmp_path, compute_unit="npu")
    manifest = tmp_path / "manifest.json"
    manifest.write_text('{"precision": "fp32", "blocks": []}')
    with pytest.raises(TableError, match="its packages are fp32, not fp16; use a folder for each"):
        CoreMLProfiler(tmp_path)
    manifest.write_text('{"precision": "fp16"}')
    with pytest.raises(TableError, match=r"manifest\.json: damaged .*; write the packages anew"):
        CoreMLProfiler(tmp_path)
