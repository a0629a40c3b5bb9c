"""Latency of an architecture: the table's sum against one by hand, and the clock."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from functools import cache

import pytest
import torch
from diffusers import UNet2DConditionModel
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluators.latency import TableLatency
from evaluators.whole_unets import measure_latency
from latency_tables import (
    LatencyRow,
    LatencyTable,
    MissingRowsError,
    TableMetadata,
    TorchCpuProfiler,
)
from supernet.architecture import BlockId
from supernet.inventory import take_inventory, unet_config
from supernet.parts import Inventory

CONFIG = {
    "sample_size": 8,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": 16,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
}


ONE_THREAD = TorchCpuProfiler(threads=1)


@cache
def inventory() -> Inventory:
    return take_inventory(unet_config(CONFIG), context_length=24)


def toy_table(without: int = 0) -> LatencyTable:
    """Every signature of the UNet with a time of its own (a power of two: sums are exact)."""
    signatures = inventory().all_signatures()
    rows = {s: LatencyRow(2.0 ** (i - 8), 0, 1) for i, s in enumerate(signatures)}
    for signature in signatures[:without]:
        del rows[signature]
    metadata = TableMetadata(
        name="toy",
        device="a toy",
        chip="T1",
        os="ToyOS 1",
        runtime="torch",
        runtime_version="2",
        precision="fp32",
        method="measured",
        measured_how="once",
        measured_at=date(2026, 11, 24),
        command="evounet profile",
    )
    return LatencyTable(metadata, rows)


def unet() -> UNet2DConditionModel:
    return UNet2DConditionModel.from_config(CONFIG).eval()


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Torch set to two threads, so that measuring with one has something to restore."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@given(data=st.data())
@settings(deadline=None, max_examples=30)
def test_the_tables_latency_is_the_sum_over_the_parts_that_run(data: st.DataObject) -> None:
    table, full = toy_table(), inventory().full()
    counts = {
        block.id: data.draw(st.integers(0, 1 if block.changes_shape else 3), label=str(block.id))
        for block in inventory().blocks
    }
    architecture = full.with_multiplicities(counts)
    by_hand = 0.0
    for part in inventory().fixed:
        by_hand += table.rows[part.signature].median_ms
    for block in inventory().blocks:
        by_hand += counts[block.id] * table.rows[block.part.signature].median_ms
        if counts[block.id] == 0 and block.remainder is not None:
            by_hand += table.rows[block.remainder.signature].median_ms
    assert TableLatency(inventory(), table)(architecture) == by_hand


def test_removing_a_block_saves_its_time_less_what_stays() -> None:
    table = toy_table()
    latency, full = TableLatency(inventory(), table), inventory().full()
    for block in inventory().blocks:
        saved = latency(full) - latency(full.without([block.id]))
        assert latency.saved_by_removing(block.id) == saved
    changing = BlockId.parse("resnet down.1/0")  # 8 to 16 channels: its 1x1 convolution stays
    part, remainder = inventory().by_id[changing].part, inventory().by_id[changing].remainder
    assert remainder is not None
    assert latency.saved_by_removing(changing) == (
        table.rows[part.signature].median_ms - table.rows[remainder.signature].median_ms
    )


def test_absent_rows_are_all_named_at_once() -> None:
    absent = inventory().all_signatures()[:3]
    with pytest.raises(MissingRowsError) as caught:
        TableLatency(inventory(), toy_table(without=3))
    assert caught.value.signatures == tuple(absent)
    for text in (*map(str, absent), "lacks 3 rows", "evounet profile"):
        assert text in str(caught.value)


@pytest.mark.usefixtures("two_threads")
def test_unets_are_timed_in_turns_and_threads_are_restored() -> None:
    unets = [unet(), unet()]
    order: list[int] = []
    threads: set[int] = set()

    def note(i: int) -> None:
        order.append(i)
        threads.add(torch.get_num_threads())

    for i, each in enumerate(unets):
        each.register_forward_pre_hook(lambda *_, i=i: note(i))
    medians = measure_latency(unets, ONE_THREAD, context_length=5, repetitions=3)
    assert len(medians) == 2
    assert all(0 < median < 10_000 for median in medians)
    assert order == [0, 1] * (2 + 3)  # twice for warm-up
    assert threads == {1}
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_threads_are_restored_after_a_failure() -> None:
    broken = unet()
    broken.conv_out = torch.nn.Conv2d(3, 4, 3)  # of wrong width
    with pytest.raises(RuntimeError):
        measure_latency([broken], ONE_THREAD, context_length=5)
    assert torch.get_num_threads() == 2


def test_latency_is_that_of_the_batch_the_size_and_the_precision_asked_for() -> None:
    seen: list[torch.Tensor] = []
    timed = unet()
    timed.register_forward_pre_hook(lambda _, inputs: seen.extend(inputs))
    measure_latency([timed], TorchCpuProfiler("bf16"), context_length=5, batch=3, repetitions=1)
    sample, _, context = seen[:3]
    assert (sample.shape, context.shape) == ((3, 4, 8, 8), (3, 5, 16))
    assert sample.dtype == context.dtype == torch.bfloat16


def test_more_work_takes_longer() -> None:
    small, large = measure_latency(
        [unet(), UNet2DConditionModel.from_config(CONFIG | {"sample_size": 48}).eval()],
        ONE_THREAD,
        context_length=5,
        repetitions=3,
    )
    assert large > 1.5 * small  # 36 times the pixels
