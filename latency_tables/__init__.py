"""Latency tables: what each block of a UNet costs on a device, in milliseconds.

A table is read, summed and merged without torch; only profiling blocks with torch imports it.
"""

from latency_tables.profilers import (
    CoreMLProfiler,
    OnnxRuntimeProfiler,
    TorchCpuProfiler,
    TorchCudaProfiler,
)
from latency_tables.profiling import BlockProfiler, Conditions, ModuleProfiler, noisy, profile
from latency_tables.registry import available_tables, known_tables, load_table, user_folders
from latency_tables.signature import KINDS, MODULE_KINDS, BlockSignature
from latency_tables.table import (
    Calibration,
    LatencyRow,
    LatencyTable,
    MissingRowsError,
    TableError,
    TableMetadata,
)
from latency_tables.table_diff import TableDiff
from latency_tables.table_files import add_table, read_table, write_table

__all__ = [
    "KINDS",
    "MODULE_KINDS",
    "BlockProfiler",
    "BlockSignature",
    "Calibration",
    "Conditions",
    "CoreMLProfiler",
    "LatencyRow",
    "LatencyTable",
    "MissingRowsError",
    "ModuleProfiler",
    "OnnxRuntimeProfiler",
    "TableDiff",
    "TableError",
    "TableMetadata",
    "TorchCpuProfiler",
    "TorchCudaProfiler",
    "add_table",
    "available_tables",
    "known_tables",
    "load_table",
    "noisy",
    "profile",
    "read_table",
    "user_folders",
    "write_table",
]
