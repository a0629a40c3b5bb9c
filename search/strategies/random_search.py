"""Random architectures that reach the goal, the best of which is the answer."""

from __future__ import annotations

import random
from collections.abc import Iterator

from search.round import Answer, Round
from supernet.architecture import Architecture

_TRIES = 20  # in a row that bring nothing new before the space is taken to be exhausted


class RandomSearch:
    """Removes blocks in random order until the goal is reached, again and again.

    Sampling by itself is the baseline that every policy has to beat: with shared weights it is a
    strong one (Yu et al., ICLR 2020, "Evaluating the search phase of NAS").
    """

    def choose(self, question: Round) -> Answer:
        draws = random_architectures(question)
        drawn = [first for first, _ in zip(draws, range(question.left), strict=False)]
        question.measure(drawn)
        after = question.best()
        assert after is not None
        return Answer(after, remarks=(f"the best of {len(drawn)} random architectures",))

    def expected(self, question: Round) -> int:
        return question.left


def random_architectures(question: Round) -> Iterator[Architecture]:
    """Different ones that reach the goal and would not without any of their removals."""
    generator = random.Random(question.seed)
    seen: set[Architecture] = set()
    tries = 0
    while tries < _TRIES:
        order = question.removable
        generator.shuffle(order)
        count = next(
            n for n in range(len(order) + 1) if question.reaches(question.without(order[:n]))
        )
        gone = order[:count]
        for block in order[:count]:  # what the later ones made needless comes back
            fewer = [each for each in gone if each != block]
            if question.reaches(question.without(fewer)):
                gone = fewer
        found = question.without(gone)
        tries = tries + 1 if found in seen else 0
        if found not in seen:
            seen.add(found)
            yield found
