"""Found sets of removals made better: others a few exchanges away are measured as wholes.

What to measure next is what a surrogate (:mod:`search.strategies.surrogate`) expects the largest
gain of, its doubt included, over the best that is known to be as fast.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from search.front import not_beaten
from search.round import Round
from search.strategies.surrogate import FloatArray, Surrogate, as_rows
from supernet.architecture import Architecture

# Architectures that are measured at a time, whatever the number of workers: at least so many, and
# a share of those known, since a few more tell the surrogate of many little.
_TOGETHER, _TOGETHER_SHARE = 4, 1 / 8
_OPTIMISM = 2.0  # standard deviations that a surrogate's expectation counts with in addition
_BEAM = 12  # sets that are exchanged further
_EXCHANGES = 3  # in a row
_CANDIDATES = 16  # blocks that may go in place of others, by their expected loss per ms


def refine(question: Round, start: Architecture, evaluations: int) -> Architecture:
    """What surely scores higher than ``start`` after measuring so many, or that itself.

    By as many standard errors as the settings' caution asks for.

    Args:
        question: with single removals judged already, which the surrogate learns from.
        start: reaches the goal.
        evaluations: architectures to measure at most, as far as the round's budget goes.
    """
    question.first(question.prompts, [start])  # whatever is left: it is to be compared with
    needed_ms = question.latency(question.current) - question.goal_ms
    _measure_promising(question, evaluations, needed_ms)
    fast = filter(question.reaches, question.known)
    gains = {each: question.gain(start, each) for each in fast if each != start}
    best = max(gains, key=gains.__getitem__, default=start)
    return best if gains.get(best, 0.0) > 0 else start


def explore_front(question: Round, evaluations: int) -> list[Architecture]:
    """What is not beaten in both CLIP score and latency, after measuring so many; fastest first.

    Args:
        question: with single removals judged already; its goal means nothing here.
        evaluations: architectures to measure at most, as far as the round's budget goes.
    """
    _measure_promising(question, evaluations, -math.inf)
    known = question.known
    return not_beaten(known, {each: question.latency(each) for each in known})


def _measure_promising(question: Round, evaluations: int, needed_ms: float) -> None:
    while evaluations > 0 and question.left:
        together = max(_TOGETHER, int(_TOGETHER_SHARE * len(question.known)))
        some = _propose(question, min(together, evaluations, question.left), needed_ms)
        if not some:
            return
        question.measure(some)
        evaluations -= len(some)


@dataclass(frozen=True)
class _Sets:
    """Architectures as sets of removed blocks.

    Attributes:
        question: whose removable blocks are meant.
        savings: of each block by itself, in ms, ``(blocks,)``.
    """

    question: Round
    savings: FloatArray

    @classmethod
    def of(cls, question: Round) -> _Sets:
        return cls(question, np.array(list(question.savings.values())))

    def rows(self, architectures: Sequence[Architecture]) -> FloatArray:
        """``(n, blocks)``, 1 for a removed block."""
        place = {block: i for i, block in enumerate(self.question.removable)}
        removed = [self.question.removed(each) for each in architectures]
        return as_rows([[place[b] for b in blocks] for blocks in removed], len(place))

    def among(self, values: Mapping[Architecture, float]) -> dict[Architecture, float]:
        """Those that lack removable blocks only; a group may take others along."""
        within = set(self.question.removable)
        return {
            each: value
            for each, value in values.items()
            if within.issuperset(self.question.removed(each))
        }

    def architecture(self, row: FloatArray) -> Architecture:
        removable = self.question.removable
        gone = [block for block, there in zip(removable, row, strict=True) if there]
        return self.question.without(gone)


def _propose(question: Round, count: int, needed_ms: float) -> list[Architecture]:
    """Not measured yet, saving enough, and promising."""
    sets = _Sets.of(question)
    differences = sets.among(question.differences)
    surrogate = Surrogate(sets.rows(list(differences)), np.array(list(differences.values())))
    known = sets.among(question.known)
    ms = {each: question.latency(each) for each in known}
    if needed_ms == -math.inf:
        good = not_beaten(known, ms)
    else:
        good = sorted(filter(question.reaches, known), key=known.__getitem__, reverse=True)[:_BEAM]
    if not good:
        return []
    beam = sets.rows(good)
    bar = _Bar(sets.rows(list(known)) @ sets.savings, _relative(known, question.current))
    movable = _movable(surrogate, beam, sets.savings)
    seen: set[bytes] = set()
    around, hopes = [beam[:0]], [np.empty(0)]
    for _ in range(_EXCHANGES):
        new = _exchanged(beam, movable, sets.savings, needed_ms, seen)
        if not len(new):
            break
        expected, doubt = surrogate.predict(new)
        gains = expected + _OPTIMISM * doubt - bar.at(new @ sets.savings, needed_ms)
        around.append(new)
        hopes.append(gains)
        beam = new[np.argsort(-gains, kind="stable")[:_BEAM]]
    every = np.concatenate(around)
    proposed: list[Architecture] = []
    for row in every[np.argsort(-np.concatenate(hopes), kind="stable")]:
        each = sets.architecture(row)
        if each not in question.known and (needed_ms == -math.inf or question.reaches(each)):
            proposed.append(each)
        if len(proposed) == count:
            break
    return proposed


def _relative(known: Mapping[Architecture, float], current: Architecture) -> FloatArray:
    return np.array(list(known.values())) - known[current]


@dataclass(frozen=True)
class _Bar:
    """The best score known of what saves at least so much.

    Attributes:
        saved: by each known architecture, in ms.
        scores: of each.
    """

    saved: FloatArray
    scores: FloatArray

    def at(self, saved: FloatArray, needed_ms: float) -> FloatArray:
        """To be beaten by what saves so much, ``(n,)``; more than what is needed counts as that."""
        wanted = np.minimum(saved, needed_ms) if needed_ms > -math.inf else saved
        as_fast = self.saved[None] >= wanted[:, None] - 1e-9
        best = np.where(as_fast, self.scores[None], -np.inf).max(axis=1)
        # Where nothing known is as fast, anything is a gain.
        worst = self.scores.min()
        return np.where(np.isfinite(best), best, worst)


def _movable(surrogate: Surrogate, beam: FloatArray, savings: FloatArray) -> list[int]:
    """Blocks that are worth moving: those that some of a beam lack, and the best of the others."""
    expected, doubt = surrogate.predict(np.eye(len(savings)))
    order = np.argsort(-(expected + _OPTIMISM * doubt) / savings, kind="stable")
    gone = set(np.flatnonzero(beam.any(axis=0)).tolist())
    others = [i for i in order.tolist() if i not in gone]
    return sorted(gone) + others[:_CANDIDATES]


def _exchanged(
    beam: FloatArray,
    movable: Sequence[int],
    savings: FloatArray,
    needed_ms: float,
    seen: set[bytes],
) -> FloatArray:
    """Different sets that save enough, each a block more, less or another than one of a beam.

    One block may be exchanged for two.

    Args:
        beam: sets, ``(n, blocks)``.
        movable: blocks that may be exchanged.
        savings: of each block, in ms.
        needed_ms: to be saved.
        seen: sets to leave out, packed into bits; those found join them.
    """
    found = []
    for start in beam:
        out = [i for i in movable if start[i]]
        into = [i for i in movable if not start[i]]
        moves: list[tuple[int, ...]] = [(i,) for i in movable]
        moves += [(i, j) for i in out for j in into]
        moves += list(combinations(into, 2)) + list(combinations(out, 2))
        moves += [(i, *pair) for i in out for pair in combinations(into, 2)]
        rows = np.abs(start - as_rows(moves, len(savings)))
        found.append(_unseen(rows[rows @ savings >= needed_ms], seen))
    return np.concatenate(found)


def _unseen(rows: FloatArray, seen: set[bytes]) -> FloatArray:
    """Those of some sets that were not seen before, each once; now they are."""
    new = []
    keys = np.packbits(rows.astype(bool), axis=1)
    for i, key in enumerate(keys.view(f"V{keys.shape[1]}").ravel().tolist()):
        if key not in seen:
            seen.add(key)
            new.append(i)
    return rows[new]
