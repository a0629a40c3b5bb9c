"""Latency tables: what each block of a UNet costs on a device, in milliseconds.

A table is read, summed and merged without torch; only profiling blocks with torch imports it.
"""

from latency_tables.profiling import BlockProfiler, Conditions, noisy, profile
from latency_tables.registry import available_tables, load_table
from latency_tables.signature import KINDS, BlockSignature
from latency_tables.table import (
    LatencyRow,
    LatencyTable,
    MissingRowsError,
    TableError,
    TableMetadata,
)
from latency_tables.table_files import read_table, write_table
from latency_tables.torch_cpu import TorchCpuProfiler

__all__ = [
    "KINDS",
    "BlockProfiler",
    "BlockSignature",
    "Conditions",
    "LatencyRow",
    "LatencyTable",
    "MissingRowsError",
    "TableError",
    "TableMetadata",
    "TorchCpuProfiler",
    "available_tables",
    "load_table",
    "noisy",
    "profile",
    "read_table",
    "write_table",
]
