"""What a finished or running search's scores foretell of another target: nothing is drawn."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from evaluators.job import Scores
from evaluators.latency import TableLatency
from experiments.experiment import load_experiment
from experiments.run_folder import RunFolder, RunFolderError
from experiments.search_parts import find_demands
from experiments.search_run import open_store
from experiments.unets import choose_unet
from latency_tables import load_table
from search.demands import Demands, counts
from search.foretelling import Foretold, foretell
from search.state import SearchState
from supernet.architecture import Architecture

_CONFIDENCE = 1.96  # standard deviations


@dataclass(frozen=True)
class Plan:
    """What would reach a target.

    Attributes:
        run: whose scores it is foretold from.
        overrides: of its experiment.
        demands: that it keeps to.
        latencies: by every table.
        foretold: the architecture and its score.
    """

    run: Path
    overrides: tuple[str, ...]
    demands: Demands
    latencies: tuple[TableLatency, ...]
    foretold: Foretold

    def lines(self) -> Iterator[str]:
        """For people."""
        found, full = self.foretold, self.demands.latency.inventory.full()
        yield (
            f"foretold from {found.learned_from} architectures that {self.run} scored in its first "
            "round; nothing was drawn"
        )
        yield (
            f"CLIP {found.clip_before:.4f} -> {found.clip_after:.4f} ± "
            f"{_CONFIDENCE * found.doubt:.4f} before further training"
        )
        for latency in self.latencies:
            name = latency.table.metadata.name
            yield f"table {name}: {latency(full):.2f} -> {latency(found.after):.2f} ms"
        for count in counts(self.demands.latency.inventory):
            before, after = count.measure(full), count.measure(found.after)
            yield f"{count.name}: {before:.2f} -> {after:.2f} {count.unit}"
        gone = ", ".join(map(str, found.after.removed)) or "nothing"
        yield f"removed: {gone}"
        changes = "".join(f" --set {shlex.quote(each)}" for each in self.overrides)
        experiment, run = (shlex.quote(str(p)) for p in (self.run / "experiment.toml", self.run))
        yield f"measure it: evounet search {experiment} --from {run} --run runs/planned{changes}"


def plan(run: Path, overrides: Sequence[str] = ()) -> Plan:
    """Foretell from the scores of a run's first round what would reach a target.

    Args:
        run: folder of a search that has decided something.
        overrides: of its experiment: another target, table or limit.

    Raises:
        ValueError: in one line, if the run has too few scores or the target cannot be reached.
    """
    folder = RunFolder(run)
    own = folder.load_experiment()
    experiment = load_experiment(folder.experiment, overrides)
    unet = choose_unet(experiment.model.pipeline, granularity=own.search.granularity)
    tables = [load_table(name, unet=unet.arguments) for name in experiment.latency.tables]
    latencies = tuple(TableLatency(unet.inventory, table) for table in tables)
    demands = find_demands(experiment, latencies)
    full = unet.inventory.full()
    recorded = _first_round(folder, full)
    return Plan(run, tuple(overrides), demands, latencies, foretell(full, recorded, demands))


def _first_round(folder: RunFolder, full: Architecture) -> dict[Architecture, Scores]:
    """Its scores, of those in a store that others may share."""
    state = SearchState.load(folder.state, full)
    if not state.decisions:
        raise RunFolderError(f"{folder.path}: has not decided anything yet; plan with it later")
    first = state.decisions[0]
    store = open_store(folder.load_experiment(), folder, "")
    for scores in store.recorded(first.weights, full).values():
        base = scores.get(first.before)
        if base is not None and fmean(base.first) == first.clip_before:
            return scores
    raise RunFolderError(
        f"{folder.path}: the scores of its first round are not in its store; search anew"
    )
