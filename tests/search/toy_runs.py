"""Whole searches of the toy, and what is known of it."""

from __future__ import annotations

from pathlib import Path

from toy_search import ToySearch, Truth, toy_inventory, toy_latency, truth_by_place

from search.settings import EvolutionSettings

LATENCY = toy_latency()
INVENTORY = toy_inventory()
FULL = INVENTORY.full()
BASE_MS = LATENCY(FULL)
LEAST_MS = LATENCY(INVENTORY.smallest())
TRUTH = truth_by_place(INVENTORY)
ATTENTIONS = [block for block in FULL if block.kind == "cross_attention"]


def search(folder: Path, truth: Truth = TRUTH, **options: object) -> ToySearch:
    """A search to half of the way between base and smallest, unrefined, unless told otherwise."""
    setting_names = set(EvolutionSettings.model_fields) & options.keys()
    chosen = {name: options.pop(name) for name in setting_names}
    chosen.setdefault("target_ms", (BASE_MS + LEAST_MS) / 2)
    chosen.setdefault("refine", 0)
    return ToySearch(folder, EvolutionSettings(**chosen), truth, **options)
