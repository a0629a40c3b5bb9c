"""Blocks through ONNX Runtime: they compute what torch computes, and keep the contract."""

from __future__ import annotations

import builtins

import pytest
import torch

from latency_tables import BlockSignature, OnnxRuntimeProfiler
from latency_tables.contract import SMALL_SIGNATURES, ProfilerContract
from latency_tables.profilers.torch_blocks import build_block

SHORTCUT = SMALL_SIGNATURES[4]


class TestOnnxRuntime(ProfilerContract):
    signatures = (SHORTCUT, SMALL_SIGNATURES[-1])  # exporting takes a second or two for each

    @pytest.fixture
    def profiler(self) -> OnnxRuntimeProfiler:
        return OnnxRuntimeProfiler(threads=1)


@pytest.mark.slow
class TestOnnxRuntimeWithEveryKind(TestOnnxRuntime):
    signatures = SMALL_SIGNATURES


@pytest.mark.parametrize("signature", [SHORTCUT, SMALL_SIGNATURES[2]], ids=str)
def test_it_computes_what_torch_does(signature: BlockSignature) -> None:
    [output] = OnnxRuntimeProfiler(threads=1).prepare(signature)()
    module, inputs = build_block(signature)
    torch.testing.assert_close(torch.from_numpy(output), module(*inputs), rtol=1e-4, atol=1e-5)


def test_another_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="'bf16' is unknown to the ONNX profiler; use fp32"):
        OnnxRuntimeProfiler("bf16")


def test_without_onnx_runtime_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: object) -> object:
        if name == "onnxruntime":
            raise ImportError("No module named 'onnxruntime'")
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match=r"needs: pip install 'evounet\[onnx\]'"):
        OnnxRuntimeProfiler()
