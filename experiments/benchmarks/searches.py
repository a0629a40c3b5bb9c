"""Searches that benchmarks do on their way."""

from __future__ import annotations

from rich.console import Console

from experiments.comparison import Comparison
from experiments.experiment import Experiment
from experiments.run_folder import RunFolder
from experiments.run_log import RunLog
from experiments.search_parts import prepare
from experiments.search_run import open_pool, search

# Changes to a preset in the shapes world with which its search shows within a minute that it works.
QUICK_SEARCH = (
    "evaluation.prompts.count=4",
    "evaluation.sampling.num_inference_steps=1",
    "search.rounds=1",
    "search.grow=false",
    "search.recheck=0",
    "search.refine=0",
    "training.pictures=64",
    "training.round.steps=0",
    "training.final.steps=1",
    "comparison.prompts.count=4",
    "comparison.repetitions=3",
)


def is_begun(folder: RunFolder, experiment: Experiment) -> bool:
    """Whether a folder holds this very search, finished or not."""
    return folder.experiment.exists() and folder.load_experiment() == experiment


def search_in(folder: RunFolder, experiment: Experiment, console: Console) -> Comparison:
    """Do a whole search, from wherever its folder stands."""
    log = RunLog(console, folder.log)
    parts = prepare(experiment)
    begun = is_begun(folder, experiment)
    with open_pool(parts, folder, log) as pool:
        if not begun:
            folder.create(experiment)
        comparison = search(parts, folder, log, pool)
    console.print(comparison.table())
    return comparison
