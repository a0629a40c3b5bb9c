"""The same prompts from the same noise, drawn before the first round and after every one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from evaluators.pool import Evaluators
from experiments.report.data import SampleSet
from experiments.report.sample_files import add_samples, sample_titles
from search.decision import Decision
from search.evolution import Track
from search.race import as_it_begins
from search.store import EvaluationStore
from supernet.architecture import Architecture
from supernet.growth import Growth

_SHOWN = 8  # pictures of a round at most

WeightsOf = Callable[[Decision], Mapping[str, Tensor]]


@dataclass(frozen=True)
class RoundSamples:
    """Draws what is not drawn yet, in whole batches: so pictures are those that were scored.

    They count to no budget, and are asked of the evaluators beside it.

    Attributes:
        folder: of the pictures.
        evaluators: draw.
        store: has the scores of all that was decided on.
        weights_of: those that a decision was made with.
        growth: how added copies begin.
        track: opens progress displays.
    """

    folder: Path
    evaluators: Evaluators
    store: EvaluationStore
    weights_of: WeightsOf
    growth: Growth
    track: Track

    def draw(self, decisions: Sequence[Decision]) -> None:
        """Pictures of every decision, and of the first one's beginning."""
        drawn = sample_titles(self.folder)
        for decision in decisions:
            wanted = [each for each in self._wanted(decision) if each.title not in drawn]
            if wanted:
                self.evaluators.load_weights(self.weights_of(decision))
            for each in wanted:
                add_samples(self.folder, self._draw(each))

    def _wanted(self, decision: Decision) -> Iterator[_Wanted]:
        """What is drawn with the weights of a decision."""
        begun = as_it_begins(decision.after, decision.before, self.growth)
        sets = {f"round {decision.round}": begun}
        if decision.round == 1:
            sets = {"base": decision.before} | sets
        for title, architecture in sets.items():
            scores = self.store.get(architecture, decision.weights).first
            if len(scores) == len(self.evaluators.spec.prompts):  # else the store was begun anew
                yield _Wanted(title, architecture, scores)

    def _draw(self, wanted: _Wanted) -> SampleSet:
        spec = self.evaluators.spec
        size, count = spec.sampling.batch_size, min(_SHOWN, len(spec.prompts))
        rows = range(min(-(-count // size) * size, len(spec.prompts)))
        batches: list[Tensor] = []
        with self.track(f"{wanted.title}: samples", len(rows)) as on_progress:
            for batch in self.evaluators.images(wanted.architecture, rows):
                batches.append(batch)
                on_progress(sum(map(len, batches)), {})
        images, captions = torch.cat(batches), spec.prompts.prompts
        return SampleSet(wanted.title, images[:count], captions[:count], wanted.scores[:count])


@dataclass(frozen=True)
class _Wanted:
    """A set to be drawn, with the scores of all prompts."""

    title: str
    architecture: Architecture
    scores: tuple[float, ...]
