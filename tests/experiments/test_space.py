"""What is shown of the space before a search, and how experiments name limits."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from in_process import invented_table
from rich.console import Console

from evaluators.latency import TableLatency
from experiments.experiment import Experiment, load_experiment
from experiments.search_parts import find_demands
from experiments.space import space_table
from experiments.unets import choose_unet
from supernet.activations import PeakActivations

INVENTORY = choose_unet("shapes").inventory
LATENCIES = tuple(
    TableLatency(INVENTORY, invented_table(INVENTORY, name)) for name in ("phone", "tablet")
)
BASE_MS, LEAST_MS = (LATENCIES[1](each) for each in (INVENTORY.full(), LATENCIES[1].fastest()))


def experiment(*overrides: str) -> Experiment:
    tables = "latency.tables=['phone', 'tablet']"
    return load_experiment(Path("demo"), [tables, "latency.target_ratio=0.9", *overrides])


def test_the_space_is_shown_with_the_limits_beside_it() -> None:
    asked = experiment(f"limits.latency_ms={{tablet = {LEAST_MS + 100}}}", "limits.parameters=3e6")
    shown = io.StringIO()
    demands = find_demands(asked, LATENCIES)
    Console(file=shown, width=200).print(space_table(demands, LATENCIES))
    rows = {
        cells[0]: cells[1:]
        for line in shown.getvalue().splitlines()
        if len(cells := [cell.strip() for cell in line.strip("│┃").split("│")]) == 5
    }
    full, smallest = INVENTORY.full(), INVENTORY.smallest()
    assert rows["latency on table 'tablet'"] == [
        f"{BASE_MS:,.2f} ms",
        *(f"{LATENCIES[1](each):,.2f} ms" for each in (full.without(list(full)[::2]), smallest)),
        f"{LEAST_MS + 100:,.2f} ms",
    ]
    assert rows["latency on table 'phone'"][-1] == f"{0.9 * LATENCIES[0](full):,.2f} ms"
    assert rows["parameters"][-1] == "3.00 M"
    assert rows["multiply-accumulates"][-1] == ""
    peak = PeakActivations(INVENTORY)
    held = (peak(each) / 1e6 for each in (full, full.without(list(full)[::2]), smallest))
    assert rows["peak activations"] == [*(f"{values:.2f} M" for values in held), ""]
    assert rows["removable blocks"][:3] == ["38", "19", "0"]


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("latency_ms={nokia = 3.0}", "limits.latency_ms: 'nokia' is none of the further tables"),
        ("latency_ms={phone = 3.0}", "limits.latency_ms: 'phone' is none of the further tables"),
        ("latency_ms={tablet = 3.0}", "latency on table 'tablet': 3.00 ms cannot be reached"),
        ("parameters=10.0", "parameters: 0.00 M cannot be reached"),
        ("macs=1.0", "multiply-accumulates: 0.00 G cannot be reached"),
        ("activations=10.0", "peak activations: 0.00 M cannot be reached"),
    ],
)
def test_limits_that_mean_nothing_are_refused(limit: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        find_demands(experiment(f"limits.{limit}"), LATENCIES)
