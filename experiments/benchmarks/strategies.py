"""Strategies on the full space, with training: whole searches of the shapes world.

Every strategy gets the same start, prompts, training and budget of pictures, and is asked for the
same latencies. What it found is compared on prompts that no search has seen, all drawn from the
same noise, so that differences are paired.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

from pydantic import TypeAdapter
from rich.console import Console

from experiments.benchmarks.benchmark import Figure, Goal
from experiments.benchmarks.searches import is_begun, search_in
from experiments.comparison import Comparison
from experiments.experiment import load_experiment
from experiments.run_folder import RunFolder
from search.decision import paired_difference
from search.state import write_atomically
from search.strategies import STRATEGIES

_RATIOS = (0.5, 0.3)  # of the base's latency by the table
_DEFAULT, _PAPER = "evolution", "paper"
_PROMPTS = 32
_ARCHITECTURES = 96  # on all prompts, in two rounds: 38 and about 24 are single removals
_CONFIDENCE = 1.96  # standard errors


@dataclass(frozen=True)
class Size:
    """How much of it.

    Attributes:
        strategies: by name.
        ratios: of the base's latency.
        overrides: of the demo's experiment.
    """

    strategies: tuple[str, ...]
    ratios: tuple[float, ...]
    overrides: tuple[str, ...]


_FULL = Size(
    (*STRATEGIES, _PAPER),
    _RATIOS,
    (
        f"search.max_pictures={_ARCHITECTURES * _PROMPTS}",
        "training.final.steps=60",
        "comparison.prompts.count=128",
        "comparison.sampling.num_inference_steps=8",
        "comparison.repetitions=5",
    ),
)
_QUICK = Size(
    (_DEFAULT, "random"),
    _RATIOS[:1],
    (
        "evaluation.prompts.count=8",
        "evaluation.sampling.num_inference_steps=2",
        "search.rounds=1",
        "search.grow=false",
        "search.max_pictures=384",
        "training.pictures=64",
        "training.round.steps=0",
        "training.final.steps=2",
        "comparison.prompts.count=16",
        "comparison.sampling.num_inference_steps=2",
        "comparison.repetitions=3",
    ),
)


@dataclass(frozen=True)
class Found:
    """What a search found, beside the base it began with.

    Attributes:
        base_ms: latency of the base by the table.
        found_ms: likewise, of what was found.
        base_scores: of the base's pictures of the last prompts.
        found_scores: likewise.
    """

    base_ms: float
    found_ms: float
    base_scores: tuple[float, ...]
    found_scores: tuple[float, ...]

    @classmethod
    def of(cls, comparison: Comparison) -> Found:
        before, after = comparison.before, comparison.after
        return cls(
            before.predicted_ms,
            after.predicted_ms,
            before.pictures.scores.first,
            after.pictures.scores.first,
        )


_FOUND = TypeAdapter(Found)


def run(quick: bool, console: Console) -> list[Figure]:
    """Search with every strategy to every latency; nothing is kept."""
    with TemporaryDirectory() as name:
        return run_in(Path(name), quick, console)


def run_in(folder: Path, quick: bool, console: Console) -> list[Figure]:
    """The same in a folder, where searches that are done are not done again."""
    size = _QUICK if quick else _FULL
    found = {
        (name, ratio): _search(name, ratio, size, folder, console)
        for ratio in size.ratios
        for name in size.strategies
    }
    return list(_figures(found))


def _search(name: str, ratio: float, size: Size, folder: Path, console: Console) -> Found:
    """One whole search, from wherever its own folder stands."""
    console.print(f"{_about(name)} to {ratio:.0%} of the base's latency")
    asked = ["search.paper=true"] if name == _PAPER else [f"search.strategy={name}"]
    overrides = [*size.overrides, f"latency.target_ratio={ratio}", *asked]
    experiment = load_experiment(Path("demo"), overrides)
    run_folder = RunFolder(folder / f"{name}-{100 * ratio:.0f}")
    outcome = run_folder.path / "found.json"
    if is_begun(run_folder, experiment) and outcome.exists():
        console.print("done already")
        return _FOUND.validate_json(outcome.read_bytes())
    outcome.unlink(missing_ok=True)
    found = Found.of(search_in(run_folder, experiment, console))
    write_atomically(outcome, _FOUND.dump_json(found).decode() + "\n")
    return found


def _figures(found: Mapping[tuple[str, float], Found]) -> Iterator[Figure]:
    for (name, ratio), each in found.items():
        percent, base = round(100 * ratio), fmean(each.base_scores)
        reached = each.found_ms / each.base_ms
        prefix = "" if name == _DEFAULT else f"{name}_"
        yield Figure(
            f"{prefix}clip_pct_at_{percent}",
            100 * fmean(each.found_scores) / base,
            f"CLIP of what {_about(name)} found, of the base's, at {reached:.1%} of its latency "
            f"by the table; after training, on {len(each.found_scores)} prompts",
        )
        if name != _DEFAULT:
            own, theirs = found[_DEFAULT, ratio].found_scores, each.found_scores
            mean, error = paired_difference(theirs, own)
            low, high = (100 * (mean + side * _CONFIDENCE * error) / base for side in (-1, 1))
            yield Figure(
                f"ahead_of_{name}_clip_pct_at_{percent}",
                100 * (fmean(own) - fmean(theirs)) / base,
                f"CLIP of the default's less that of {_about(name)}, of the base's; spread: 95 % "
                "over prompts",
                spread=(low, high),
                goal=Goal(">=", 0),
            )


def _about(name: str) -> str:
    return "evolution as published" if name == _PAPER else name
