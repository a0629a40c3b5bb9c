"""Greedy one-shot pruning: all sensitivities are measured once, and the least valuable go."""

from __future__ import annotations

from search.choice import choose_removals
from search.round import Answer, Round


class OneShot:
    """Scores every removal by itself and executes the best ones, without a second look."""

    def choose(self, question: Round) -> Answer:
        race = question.race()
        judged = race.enter(question.current, question.actions)
        settings = question.settings.model_copy(update={"recheck": 0})
        taken = choose_removals(
            judged, question.current, question.latency, question.goal_ms, settings, race
        )
        after = question.current
        for candidate in taken:
            after = candidate.action.apply(after)
        return Answer(after, tuple(race.alone.values()), tuple(taken))

    def expected(self, question: Round) -> int:
        return len(question.actions)
