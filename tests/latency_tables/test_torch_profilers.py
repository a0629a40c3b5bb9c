"""The torch profilers: every kind of block builds, runs, and returns what it should."""

from __future__ import annotations

import pytest
import torch

from latency_tables import BlockSignature, TorchCpuProfiler, TorchCudaProfiler
from latency_tables.contract import SMALL_SIGNATURES, ProfilerContract
from latency_tables.profilers.torch_blocks import build_block, converted

# What the small signatures of the contract return.
OUTPUT_SHAPES = dict(
    zip(
        SMALL_SIGNATURES,
        [
            *[(2, 16, 8, 8), (2, 24, 8, 6)],
            *[(2, 16, 8, 8), (1, 16, 4, 4)],
            *[(2, 24, 8, 8), (2, 16, 4, 3), (2, 16, 16, 12)],
            *[(2, 16, 8, 8), (2, 4, 8, 8), (2, 4, 8, 8)],
            *[(2, 32), (2, 32)],
            *[(2, 24, 8, 8), (2, 16, 8, 6), (2, 16, 8, 6), (2, 40, 8, 8)],
        ],
        strict=True,
    )
)
ATTENTION = SMALL_SIGNATURES[2]


class TestTorchCpu(ProfilerContract):
    @pytest.fixture(params=["fp32", "bf16", "channels last"])
    def profiler(self, request: pytest.FixtureRequest) -> TorchCpuProfiler:
        if request.param == "channels last":
            return TorchCpuProfiler(threads=1, memory_format="channels_last")
        return TorchCpuProfiler(request.param, threads=1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
class TestTorchCuda(ProfilerContract):
    @pytest.fixture(params=["fp32", "bf16", "fp16", "fp16 autocast"])
    def profiler(self, request: pytest.FixtureRequest) -> TorchCudaProfiler:
        precision, _, autocast = request.param.partition(" ")
        return TorchCudaProfiler(precision, autocast=bool(autocast))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_cuda_device_it_says_so() -> None:
    with pytest.raises(ValueError, match="torch sees no CUDA device here; profile on a machine"):
        TorchCudaProfiler()


def test_channels_last_reaches_weights_and_feature_maps() -> None:
    module, inputs = converted(*build_block(SMALL_SIGNATURES[0]), torch.float32, "channels_last")
    assert module.conv1.weight.is_contiguous(memory_format=torch.channels_last)
    assert inputs[0].is_contiguous(memory_format=torch.channels_last)
    assert not inputs[0].is_contiguous()
    plain, features = build_block(SMALL_SIGNATURES[0])
    torch.testing.assert_close(module(*inputs), plain(*features))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("signature", OUTPUT_SHAPES, ids=str)
def test_output_of_every_kind(signature: BlockSignature, precision: str) -> None:
    profiler = TorchCpuProfiler(precision)
    with profiler.session():
        output = profiler.prepare(signature)()
    assert isinstance(output, torch.Tensor)
    assert output.shape == OUTPUT_SHAPES[signature]
    assert output.dtype == {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    assert output.isfinite().all()
    assert output.is_inference()


def test_a_resnet_has_its_shortcut_only_where_channels_change() -> None:
    same, changing = SMALL_SIGNATURES[:2]
    assert build_block(same)[0].conv_shortcut is None
    assert build_block(changing)[0].conv_shortcut is not None


def test_blocks_are_reproducible_and_leave_torchs_seed_alone() -> None:
    before = torch.random.get_rng_state()
    first, second = (module(*inputs) for module, inputs in [build_block(ATTENTION)] * 2)
    again, inputs = build_block(ATTENTION)
    assert torch.equal(first, second)
    assert torch.equal(first, again(*inputs))
    assert torch.equal(before, torch.random.get_rng_state())


def test_threads_are_set_and_restored() -> None:
    before = torch.get_num_threads()
    profiler = TorchCpuProfiler(threads=1)
    with profiler.session():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
    with pytest.raises(RuntimeError), profiler.session():
        raise RuntimeError
    assert torch.get_num_threads() == before


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="precision 'fp64' is unknown; use fp32 or bf16"):
        TorchCpuProfiler("fp64")
