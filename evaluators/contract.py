"""What holds of every scorer, and of all that scores architectures, as tests to inherit.

Whoever writes one checks it with pytest::

    class TestMyScorer(ScorerContract):
        @pytest.fixture
        def scorer(self):
            return MyScorer(self.prompts)

    class TestMyEvaluators(EvaluatorContract):
        @pytest.fixture
        def evaluators(self):
            ...  # with weights loaded

        @pytest.fixture
        def full(self):
            ...  # an architecture of theirs
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from evaluators.evaluator import EvaluatorSpec
from evaluators.job import Job, Scores
from evaluators.prompts import PromptSet
from evaluators.scorers.scorer import Scorer
from supernet.architecture import Architecture

CONTRACT_PROMPTS = PromptSet(
    prompts=(
        "a small red circle on a white background",
        "a large blue star above a small green ring on a black background",
        "a large purple cross on a gray background",
        "a small cyan square left of a large red star on a brown background",
        "a large yellow triangle on a white background",
        "a small orange ring on a black background",
    ),
    seed=0,
    distractors=(
        ("a small red square on a white background", "a large red circle on a white background"),
        ("a large blue star below a small green ring on a black background",),
        ("a large purple cross on a brown background", "a large purple star on a gray background"),
        ("a small cyan square right of a large red star on a brown background",),
        ("a large yellow circle on a white background",),
        ("a small red ring on a black background", "a large orange ring on a black background"),
    ),
)


class ScorerContract:
    """Inherit, and give a fixture ``scorer`` that was opened for :attr:`prompts`.

    Attributes:
        prompts: with distractors; override them for a scorer that wants others.
        picture_size: height and width of the pictures, in pixels.
        tolerance: by how much a score may change with what else is scored beside it, as a share
            of the largest.
    """

    prompts: PromptSet = CONTRACT_PROMPTS
    picture_size: tuple[int, int] = (40, 32)
    tolerance: float = 1e-4

    def test_it_gives_a_number_for_every_picture(self, scorer: Scorer) -> None:
        scores = scorer.score(*self._pictures())
        assert scores.shape == (len(self.prompts),)
        assert scores.dtype == torch.float32
        assert scores.device.type == "cpu"
        assert scores.isfinite().all()

    def test_it_answers_alike_when_asked_again(self, scorer: Scorer) -> None:
        images, rows = self._pictures()
        before = images.clone()
        assert torch.equal(scorer.score(images, rows), scorer.score(images, rows))
        assert torch.equal(images, before), "the pictures were changed"

    def test_it_tells_pictures_or_prompts_apart(self, scorer: Scorer) -> None:
        rows = [row for row in range(len(self.prompts)) for _ in range(8)]
        assert len(scorer.score(_noise(len(rows), self.picture_size), rows).unique()) > 1

    def test_the_order_of_pictures_does_not_matter(self, scorer: Scorer) -> None:
        images, rows = self._pictures()
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(1)).tolist()
        shuffled = scorer.score(images[order], [rows[place] for place in order])
        self._assert_close(shuffled, scorer.score(images, rows)[order])

    def test_batches_may_be_cut_anywhere(self, scorer: Scorer) -> None:
        images, rows = self._pictures()
        whole = scorer.score(images, rows)
        for size in (1, 4):
            parts = [
                scorer.score(images[start : start + size], rows[start : start + size])
                for start in range(0, len(rows), size)
            ]
            self._assert_close(torch.cat(parts), whole)

    def test_a_prompt_may_have_several_pictures(self, scorer: Scorer) -> None:
        images, rows = self._pictures()
        twice = scorer.score(torch.cat([images, images]), [*rows, *rows])
        self._assert_close(twice, scorer.score(images, rows).repeat(2))

    def test_pictures_of_other_sizes_are_judged_too(self, scorer: Scorer) -> None:
        height, width = self.picture_size
        images = _noise(2, (2 * height, 3 * width))
        assert scorer.score(images, range(2)).isfinite().all()

    def test_pictures_that_are_none_are_refused(self, scorer: Scorer) -> None:
        images, rows = self._pictures()
        count = len(rows)
        gray, rgba = images[:, :1], torch.cat([images, images[:, :1]], dim=1)
        black = torch.zeros_like(images)
        for wrong in (gray, rgba, images[0], 2 * images - 1, 255 * images, black.to(torch.uint8)):
            _assert_refused(scorer, wrong, range(len(wrong)))
        _assert_refused(scorer, torch.where(images > 0.5, torch.nan, images), rows)
        _assert_refused(scorer, images, range(count - 1))
        _assert_refused(scorer, images[:0], range(0))

    def test_rows_that_the_prompts_have_not_are_refused(self, scorer: Scorer) -> None:
        images, rows = self._pictures()
        for wrong in (-1, len(rows)):
            _assert_refused(scorer, images, [*rows[1:], wrong])

    def _pictures(self) -> tuple[Tensor, Sequence[int]]:
        count = len(self.prompts)
        return _noise(count, self.picture_size), range(count)

    def _assert_close(self, scores: Tensor, expected: Tensor) -> None:
        bound = self.tolerance * expected.abs().max().item()
        torch.testing.assert_close(scores, expected, rtol=0, atol=bound)


class ScoresArchitectures(Protocol):
    """What a search asks, as :class:`evaluators.pool.Evaluators` is one."""

    @property
    def spec(self) -> EvaluatorSpec: ...

    def scores(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Scores]]: ...


class EvaluatorContract:
    """Inherit, and give fixtures: ``evaluators`` with weights loaded, of more prompts than one
    batch holds; and ``full``, an architecture with a block that can be taken out.
    """

    def test_every_judge_scores_every_row(
        self, evaluators: ScoresArchitectures, full: Architecture
    ) -> None:
        judges = evaluators.spec.judges
        for job in _batches(evaluators.spec, full):
            scores = _answers(evaluators, [job])[job]
            lists = [scores.first, scores.second][: len(judges)]
            assert [len(each) for each in lists] == [len(job.rows)] * len(judges)
            assert torch.tensor(lists).isfinite().all()
            assert bool(scores.second) == (len(judges) == 2)

    def test_every_job_is_answered_once_whatever_their_order(
        self, evaluators: ScoresArchitectures, full: Architecture
    ) -> None:
        jobs = _batches(evaluators.spec, full) + _batches(evaluators.spec, _reduced(full))
        answers = _answers(evaluators, jobs)
        assert set(answers) == set(jobs)
        assert _answers(evaluators, jobs[::-1]) == answers

    def test_batches_scored_apart_are_the_same_bits(
        self, evaluators: ScoresArchitectures, full: Architecture
    ) -> None:
        whole = Job(full, range(len(evaluators.spec.prompts)))
        batches = _batches(evaluators.spec, full)
        assert len(batches) > 1
        answers = _answers(evaluators, [whole, *batches])
        joined = answers[batches[0]]
        for batch in batches[1:]:
            joined += answers[batch]
        assert joined == answers[whole]

    def test_scores_are_the_architectures(
        self, evaluators: ScoresArchitectures, full: Architecture
    ) -> None:
        (job, *_), (other, *_) = (
            _batches(evaluators.spec, each) for each in (full, _reduced(full))
        )
        before = _answers(evaluators, [job])
        assert _answers(evaluators, [other])[other].first != before[job].first
        assert _answers(evaluators, [job]) == before, "another architecture left something behind"


def _batches(spec: EvaluatorSpec, architecture: Architecture) -> list[Job]:
    count, size = len(spec.prompts), spec.sampling.batch_size
    starts = range(0, count, size)
    return [Job(architecture, range(start, min(start + size, count))) for start in starts]


def _reduced(full: Architecture) -> Architecture:
    return full.without(list(full)[:1])


def _answers(evaluators: ScoresArchitectures, jobs: Sequence[Job]) -> dict[Job, Scores]:
    answers = list(evaluators.scores(jobs))
    assert len(answers) == len(jobs)
    return dict(answers)


def _noise(count: int, size: tuple[int, int]) -> Tensor:
    """Pictures of nothing: coarse and fine noise, so that no two are alike at any scale."""
    generator = torch.Generator().manual_seed(count)
    coarse = torch.rand(count, 3, 4, 4, generator=generator)
    fine = torch.rand(count, 3, *size, generator=generator)
    return (torch.nn.functional.interpolate(coarse, size) + fine) / 2


def _assert_refused(scorer: Scorer, images: Tensor, rows: Sequence[int]) -> None:
    """What ``pytest.raises`` says, without a need for pytest where evounet is installed."""
    try:
        scorer.score(images, rows)
    except ValueError:
        return
    raise AssertionError(f"{tuple(images.shape)} for rows {list(rows)} were not refused")
