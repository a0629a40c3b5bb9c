"""``evounet bench export``: what it compares, and a small run of the whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from in_process import Evounet

from experiments.benchmarks import export
from experiments.benchmarks.export import _diffusers_figure, _found_source
from experiments.export.diffusers import export_diffusers


def test_exported_unet_is_compared_where_evounet_cannot_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _found_source(tmp_path / "found")
    assert sum(count == 0 for count in source.spec.multiplicities.values()) == 23
    assert max(source.spec.multiplicities.values()) == 2
    assert _diffusers_figure(source, tmp_path).value == 0

    def damaged(*arguments: object, **settings: bool) -> None:
        export_diffusers(*arguments, **settings)
        with torch.no_grad():
            source.unet.conv_out.bias += 0.5

    monkeypatch.setattr(export, "export_diffusers", damaged)
    (tmp_path / "again").mkdir()
    assert _diffusers_figure(source, tmp_path / "again").value == pytest.approx(0.5, abs=1e-5)


@pytest.mark.slow
def test_quick_run_leaves_out_what_is_of_real_size(evounet: Evounet, tmp_path: Path) -> None:
    answer = evounet("bench", "export", "--quick", "--json", tmp_path / "figures.json")
    assert answer.code == 0, answer.err
    value = json.loads((tmp_path / "figures.json").read_text())
    assert list(value["figures"]) == [
        "diffusers_max_abs_diff",
        "onnx_max_abs_diff",
        "coreml_max_abs_diff",
        "coreml_psnr_db",
    ]
    assert all(each["met"] for each in value["goals"].values())
