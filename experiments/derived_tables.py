"""A latency table from one published figure: the latency of a whole UNet, shared out by MACs."""

from __future__ import annotations

from pathlib import Path

from experiments.unets import ChosenUNet
from latency_tables import BlockSignature, LatencyRow, LatencyTable, TableError
from latency_tables.table_files import read_metadata
from supernet.parts import Inventory, Part

_DIGITS = 2  # of a row: a share of a rounded total is no more certain than the total
_LEAST_MS = 0.001  # a part without MACs takes some time, too


def shared_out(inventory: Inventory, total_ms: float) -> dict[BlockSignature, LatencyRow]:
    """Every row of a UNet, so that the base's add up to a total as far as rounding lets them.

    Latency is not proportional to MACs (attention on large feature maps is slower, 1x1
    convolutions are faster than their MACs), so such a table tells little about single blocks.
    """
    blocks = inventory.blocks
    parts: list[Part] = [*inventory.fixed, *(block.part for block in blocks)]
    parts += [block.remainder for block in blocks if block.remainder is not None]
    ms_per_mac = total_ms / inventory.macs(inventory.full())
    return {
        part.signature: LatencyRow(max(_rounded(ms_per_mac * part.macs), _LEAST_MS), 0.0, 0)
        for part in parts
    }


def derive_table(unet: ChosenUNet, total_ms: float, about: Path) -> LatencyTable:
    """A table of method ``derived`` with the rest of its metadata from a TOML file.

    Raises:
        TableError: if the file cannot be read or lacks a field.
    """
    metadata = read_metadata(
        about,
        method="derived",
        measured_how=(
            f"a published {total_ms:g} ms for one pass of batch {unet.inventory.overhead.batch}, "
            f"shared out among the parts by their MACs and rounded to {_DIGITS} digits"
        ),
        command=f"evounet tables derive {unet.arguments} --total-ms {total_ms:g} --about FILE",
    )
    if metadata.source is None:
        raise TableError(f"{about}, field 'source': missing, say who published the figure")
    return LatencyTable(metadata, shared_out(unet.inventory, total_ms))


def _rounded(ms: float) -> float:
    return float(f"{ms:.{_DIGITS - 1}e}")
