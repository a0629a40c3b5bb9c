"""The torch CPU profiler: every kind of block builds, runs, and returns what it should."""

from __future__ import annotations

from datetime import date

import pytest
import torch

from latency_tables import KINDS, BlockSignature, TableMetadata, TorchCpuProfiler, profile
from latency_tables.torch_blocks import build_block

ATTENTION = BlockSignature(
    "cross_attention",
    *(2, 8, 8, 16, 16),
    heads=2,
    transformer_layers=2,
    context_length=5,
    context_width=12,
    norm_groups=4,
)
OUTPUT_SHAPES = {
    BlockSignature("resnet", 2, 8, 8, 16, 16, temb_channels=32, norm_groups=4): (2, 16, 8, 8),
    BlockSignature("resnet", 2, 8, 6, 16, 24, temb_channels=32, norm_groups=4): (2, 24, 8, 6),
    ATTENTION: (2, 16, 8, 8),
    BlockSignature(
        "cross_attention", 1, 4, 4, 16, 16, 0, 4, 1, 5, 12, linear_projection=1, norm_groups=4
    ): (1, 16, 4, 4),
    BlockSignature("shortcut", 2, 8, 8, 16, 24): (2, 24, 8, 8),
    BlockSignature("downsample", 2, 8, 6, 16, 16): (2, 16, 4, 3),
    BlockSignature("upsample", 2, 8, 6, 16, 16): (2, 16, 16, 12),
    BlockSignature("conv_in", 2, 8, 8, 4, 16): (2, 16, 8, 8),
    BlockSignature("conv_out", 2, 8, 8, 16, 4, norm_groups=4): (2, 4, 8, 8),
    BlockSignature("conv_out", 2, 8, 8, 16, 4): (2, 4, 8, 8),
    BlockSignature("time_embedding", 2, 1, 1, 16, 32, temb_channels=32): (2, 32),
    BlockSignature("skip_concat", 2, 8, 8, 16, 40): (2, 40, 8, 8),
}


def test_every_kind_is_tried() -> None:
    assert {signature.kind for signature in OUTPUT_SHAPES} == set(KINDS)


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
    same, changing = list(OUTPUT_SHAPES)[:2]
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


def test_its_conditions_complete_the_metadata_of_what_it_measured() -> None:
    profiler = TorchCpuProfiler("bf16", threads=1)
    rows = profile([ATTENTION], profiler, repetitions=2, rounds=2)
    assert rows[ATTENTION].median_ms > 0
    metadata = TableMetadata(
        name="here",
        method="measured",
        measured_how="4 timings",
        measured_at=date(2026, 11, 24),
        command="pytest",
        **profiler.describe(),
    )
    assert (metadata.precision, metadata.threads) == ("bf16", 1)
    assert metadata.runtime_version == torch.__version__
