"""A small table for the tests."""

from __future__ import annotations

from datetime import date

from latency_tables import BlockSignature, LatencyRow, LatencyTable, TableMetadata

RESNET = BlockSignature("resnet", 2, 8, 8, 64, 96, temb_channels=256, norm_groups=32)
CONCAT = BlockSignature("skip_concat", 2, 8, 8, 64, 128)
ABSENT = BlockSignature("conv_in", 2, 64, 64, 4, 320)


def make_metadata(**changes: object) -> TableMetadata:
    values = {
        "name": "toy",
        "device": "a toy",
        "chip": "T1",
        "os": "ToyOS 1",
        "runtime": "torch",
        "runtime_version": "2.14.1",
        "precision": "fp32",
        "method": "measured",
        "measured_how": "30 timings",
        "measured_at": date(2026, 11, 24),
        "command": "evounet profile toy --table toy",
    }
    return TableMetadata.model_validate(values | changes)


def make_table(**changes: object) -> LatencyTable:
    rows = {RESNET: LatencyRow(1.25, 0.1, 30), CONCAT: LatencyRow(0.0625, 0.001, 30)}
    return LatencyTable(make_metadata(**changes), rows)
