"""Algorithm 1 of SnapFusion as a strategy: actions by value, looked at again, then refined."""

from __future__ import annotations

from search.choice import choose_removals
from search.decision import Candidate
from search.race import Race
from search.round import Answer, Round
from search.strategies.refinement import explore_front, refine
from supernet.architecture import Architecture


class EvolutionStrategy:
    """Executes the best actions, a group at a time.

    Beyond the paper, as far as the settings ask for it: the best ones left are scored again on top
    of the group while it grows (``recheck``), and sets that differ from the group in a few blocks
    are measured as wholes (``refine``).
    """

    def choose(self, question: Round) -> Answer:
        race, taken = _greedy(question)
        alone = tuple(race.alone.values())
        after = question.current
        for candidate in taken:
            after = candidate.action.apply(after)
        if not question.settings.refine or question.settings.actions is not None:
            return Answer(after, alone, tuple(taken))
        question.settle_for(after)
        before = len(question.known)
        better = refine(question, after, question.settings.refine)
        measured = len(question.known) - before
        if better == after:
            surely = f" by {question.settings.caution:g} standard errors"
            remark = f"refined: none of {measured} others is better{surely}"
            return Answer(after, alone, tuple(taken), (remark,))
        executed = _singles(race, question, better)
        return Answer(better, alone, executed, (_exchange(question, after, better, measured),))

    def expected(self, question: Round) -> int:
        settings = question.settings
        rechecked = (settings.actions or question.steps) * settings.recheck
        return min(len(question.actions) + rechecked + settings.refine, settings.evaluations)

    def front(self, question: Round) -> list[Architecture]:
        """What is not beaten in both CLIP score and latency, fastest first, within the budget.

        Args:
            question: whose goal is the fastest end of the front.
        """
        _, taken = _greedy(question)
        along = [question.current]
        for candidate in taken:
            along.append(candidate.action.apply(along[-1]))
        question.measure(along)
        return explore_front(question, question.left)


def _greedy(question: Round) -> tuple[Race, list[Candidate]]:
    race = question.race()
    taken = choose_removals(
        race.enter(question.current, question.actions),
        question.current,
        question.latency,
        question.goal_ms,
        question.settings,
        race,
        may_recheck=lambda: question.left > 0,
    )
    return race, taken


def _singles(race: Race, question: Round, after: Architecture) -> tuple[Candidate, ...]:
    """The removals of an architecture as they were judged by themselves, best first."""
    gone = set(question.removed(after))
    taken = [c for c in race.alone.values() if c.action.target in gone]
    return tuple(sorted(taken, key=race.ranking.value))


def _exchange(question: Round, old: Architecture, new: Architecture, measured: int) -> str:
    """What refining changed, in words."""
    gone, kept = set(question.removed(new)), set(question.removed(old))
    removed, back = (
        ", ".join(map(str, sorted(blocks))) or "nothing" for blocks in (gone - kept, kept - gone)
    )
    gain = question.known[new] - question.known[old]
    return (
        f"refined: the best of {measured} others removes {removed} in place of {back}: "
        f"{gain:+.4f} CLIP"
    )
