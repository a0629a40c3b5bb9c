"""A found set of removals made better: others that reach the goal too are measured as wholes.

What to measure next is what a surrogate (:mod:`search.strategies.surrogate`) expects most of, its
doubt included, among sets that are a few exchanges away from the best ones known.
"""

from __future__ import annotations

import numpy as np

from search.round import Round
from search.strategies.surrogate import FloatArray, Surrogate, as_rows
from supernet.architecture import Architecture

_TOGETHER = 4  # architectures that are measured at a time, whatever the number of workers
_OPTIMISM = 1.0  # standard deviations that a surrogate's expectation counts with in addition
_BEAM = 8  # sets that are exchanged further
_EXCHANGES = 3  # in a row


def refine(question: Round, start: Architecture, evaluations: int) -> Architecture:
    """The best architecture after measuring so many, ``start`` among them.

    Args:
        question: with single removals judged already, which the surrogate learns from.
        start: reaches the goal.
        evaluations: architectures to measure at most, as far as the round's budget goes.
    """
    question.measure([start])
    while evaluations > 0 and question.left:
        proposed = _propose(question, min(_TOGETHER, evaluations, question.left))
        if not proposed:
            break
        question.measure(proposed)
        evaluations -= len(proposed)
    return question.best() or start


def _propose(question: Round, count: int) -> list[Architecture]:
    """Not measured yet, and promising."""
    blocks = question.removable
    place = {block: i for i, block in enumerate(blocks)}
    now = question.latency(question.current)
    savings = np.array([now - question.latency(question.without([block])) for block in blocks])
    differences = {
        each: difference
        for each, difference in question.differences.items()
        if all(block in place for block in question.removed(each))
    }
    rows = as_rows([[place[b] for b in question.removed(a)] for a in differences], len(blocks))
    surrogate = Surrogate(rows, np.array(list(differences.values())))
    known = question.known
    fast = sorted(filter(question.reaches, known), key=known.__getitem__, reverse=True)
    beam = as_rows([[place[b] for b in question.removed(a)] for a in fast[:_BEAM]], len(blocks))
    seen: dict[bytes, tuple[float, FloatArray]] = {}
    for _ in range(_EXCHANGES):
        around = _exchanged(beam, savings, now - question.goal_ms)
        around = around[[row.tobytes() not in seen for row in around]]
        if not len(around):
            break
        expected, doubt = surrogate.predict(around)
        hopes = expected + _OPTIMISM * doubt
        seen |= {
            row.tobytes(): (hope, row) for row, hope in zip(around, hopes.tolist(), strict=True)
        }
        beam = around[np.argsort(-hopes, kind="stable")[:_BEAM]]
    proposed: list[Architecture] = []
    for _, row in sorted(seen.values(), key=lambda pair: -pair[0]):
        each = question.without([block for block, gone in zip(blocks, row, strict=True) if gone])
        if each not in known and question.reaches(each):
            proposed.append(each)
        if len(proposed) == count:
            break
    return proposed


def _exchanged(beam: FloatArray, savings: FloatArray, needed: float) -> FloatArray:
    """Different sets that save enough, each a block more, less or another than one of a beam.

    One block may be exchanged for two.
    """
    blocks = len(savings)
    flips = [[i] for i in range(blocks)]
    flips += [[i, j] for i in range(blocks) for j in range(i)]
    moves = as_rows(flips, blocks)
    changed = np.abs(beam[:, None] - moves[None]).reshape(-1, blocks)
    twice = changed[changed @ savings < needed]
    enough = [changed[changed @ savings >= needed]]
    if len(twice):
        third = np.maximum(twice[:, None], np.eye(blocks)[None]).reshape(-1, blocks)
        enough.append(third[third @ savings >= needed])
    return np.unique(np.concatenate(enough), axis=0)
