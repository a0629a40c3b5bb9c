"""One search, whose every decision is known byte by byte: what changes it, changes searches.

Where that is meant, write the trace anew and read the difference::

    python tests/search/test_golden_trace.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from toy_runs import search
from toy_search import Truth, toy_inventory, truth_by_place

GOLDEN = Path(__file__).parent / "golden" / "decisions.jsonl"


def trace(folder: Path) -> bytes:
    """Two rounds of removals, refined, and one of additions; some pairs are dear together."""
    inventory = toy_inventory()
    blocks = [block.id for block in inventory.blocks]
    plain = truth_by_place(inventory)
    pairs = {frozenset({blocks[i], blocks[i + 2]}): 0.015 for i in range(0, 9, 3)}
    truth = Truth(plain.importance, plain.copies, pairs)
    search(folder, truth, rounds=2, refine=6).run()
    return (folder / "decisions.jsonl").read_bytes()


def test_decisions_are_those_of_the_golden_trace(tmp_path: Path) -> None:
    assert trace(tmp_path) == GOLDEN.read_bytes()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        GOLDEN.write_bytes(trace(Path(folder)))
