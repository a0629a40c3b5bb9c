"""The search of a decoder's sizes: rungs, limits, fronts, and going on after a kill."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest
from random_pairs import store_pairs

from distillation.decoder_architecture import DecoderArchitecture
from distillation.decoder_parts import parameters
from distillation.decoder_training import DecoderTraining
from distillation.tiny_architecture import TinyDecoderArchitecture
from evaluators.ray_session import ray_session
from experiments.decoder.candidates import (
    Candidate,
    Outcome,
    best_of,
    load_outcome,
    on_the_front,
    within_limits,
)
from experiments.decoder.choice import choose_decoders, parse_ratios
from experiments.decoder.parts import sized
from experiments.decoder.search import (
    ShortTraining,
    rungs_of,
    short_settings,
    try_candidates,
)
from experiments.decoder.section import DecoderSearchSection, SizesSection, TinySizesSection
from experiments.experiment import ExperimentError
from experiments.models import pipeline_source
from latency_tables import load_table

TEACHER = choose_decoders("shapes").architectures[0]
HALF = TEACHER.narrowed(0.5)
SHORT = HALF.shortened(1).without_attention()
TINY = TinyDecoderArchitecture.like_taesd(TEACHER.base, 8)
CANDIDATES = [Candidate(HALF, 2.0, 100), Candidate(SHORT, 1.0, 50)]


def test_rungs_grow_by_the_reduction_up_to_the_last_step() -> None:
    section = DecoderSearchSection(steps=400, first_rung=50, reduction=3)
    assert rungs_of(section) == (50, 150, 400)
    assert rungs_of(DecoderSearchSection(steps=100, first_rung=100)) == (100,)


def test_sizes_are_those_of_the_section() -> None:
    assert sized(TEACHER, SizesSection(ratio=0.5)) == HALF
    section = SizesSection(ratio=0.5, resnets=1, attention=False)
    assert sized(TEACHER, section) == SHORT
    stages = sized(TEACHER, SizesSection(ratio=(1, 0.5, 0.5), mid_resnets=0))
    assert stages == TEACHER.narrowed((1, 0.5, 0.5)).shortened(3, 0)
    assert sized(TEACHER, TinySizesSection(width=8)) == TINY
    deeper = TinySizesSection(width=8, blocks=(4, 4, 2))
    assert sized(TEACHER, deeper) == TinyDecoderArchitecture(TEACHER.base, 8, (4, 4, 2))


def test_candidates_keep_to_the_limits() -> None:
    table = load_table("epyc-1core-fp32")
    everything = [TEACHER, HALF, SHORT]

    def kept(**limits: float) -> list[DecoderArchitecture]:
        section = DecoderSearchSection(**limits)
        return [each.architecture for each in within_limits(everything, TEACHER, table, section)]

    assert kept() == everything
    assert kept(max_latency=0.6) == [HALF, SHORT]
    assert kept(max_parameters=0.2) == [SHORT]
    with pytest.raises(ExperimentError, match=r"no candidate keeps to max_latency = 0\.01"):
        kept(max_latency=0.01)


def test_a_point_is_on_the_front_unless_another_is_better_in_both() -> None:
    points = [(1.0, 20.0), (2.0, 30.0), (3.0, 25.0), (1.0, 10.0), (2.0, 30.0)]
    assert on_the_front(points) == [True, True, False, False, True]


def test_the_best_is_among_those_that_were_trained_longest() -> None:
    stopped = Outcome(training="t", steps=(10,), psnr_db=(40.0,))
    ended = Outcome(training="t", steps=(10, 20), psnr_db=(20.0, 30.0))
    assert best_of(CANDIDATES, [stopped, ended]).architecture == SHORT


def test_outcomes_of_other_trainings_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    outcome = Outcome(training="t", steps=(10,), psnr_db=(40.0,))
    outcome.save(tmp_path, CANDIDATES[0])
    assert load_outcome(tmp_path, CANDIDATES[0], "t") == outcome
    assert load_outcome(tmp_path, CANDIDATES[1], "t") is None
    with pytest.raises(ExperimentError, match="is of another training"):
        load_outcome(tmp_path, CANDIDATES[0], "other")
    (path,) = tmp_path.iterdir()
    path.write_text(path.read_text()[:-5])
    with pytest.raises(ExperimentError, match="is damaged; delete it"):
        load_outcome(tmp_path, CANDIDATES[0], "t")


def test_ratios_are_read_as_they_are_written() -> None:
    assert parse_ratios("0.5") == 0.5
    assert parse_ratios("1,0.5,0.25") == (1, 0.5, 0.25)
    with pytest.raises(ValueError, match=r"write it like 0\.5 or"):
        parse_ratios("half")


@pytest.fixture
def training(tmp_path: Path) -> ShortTraining:
    """Eight pairs to train on, and to be measured on, for four steps."""
    pairs = store_pairs(tmp_path / "pairs", 8)
    section = DecoderSearchSection(steps=4, first_rung=2)
    settings = DecoderTraining(steps=9, batch_size=4, warmup_steps=1, precision="fp32")
    return ShortTraining(
        pipeline_source("shapes"),
        pairs,
        pairs,
        short_settings(settings, section),
        0,
        rungs_of(section),
    )


@pytest.mark.slow
def test_a_search_that_is_gone_on_with_ends_alike(training: ShortTraining, tmp_path: Path) -> None:
    section = DecoderSearchSection(steps=4, first_rung=2)
    folder = tmp_path / "candidates"

    def search() -> list[Outcome]:
        return try_candidates(CANDIDATES, training, section, folder, None, lambda *_: None)

    with ray_session(1):
        _check_both(search, folder)


@pytest.mark.slow
def test_halving_stops_those_that_are_behind(training: ShortTraining, tmp_path: Path) -> None:
    """Four candidates, the largest first; an independent word on what ASHA does with them."""
    section = DecoderSearchSection(steps=4, first_rung=2)
    architectures = [
        TINY,
        TEACHER.narrowed(0.25),
        TEACHER,
        TEACHER.narrowed(0.25).shortened(1).without_attention(),
    ]
    sizes = [Candidate(each, float(parameters(each)), parameters(each)) for each in architectures]
    ended: list[int] = []
    with ray_session(1):
        outcomes = try_candidates(
            sizes, training, section, tmp_path, None, lambda done, _: ended.append(done)
        )
    assert ended == [1, 2, 3, 4]
    assert outcomes[2].steps == (2, 4), "the teacher's own sizes come first, and lose nothing"
    order = sorted(range(4), key=lambda number: -sizes[number].latency_ms)
    before: list[float] = []
    for number in order:
        own = outcomes[number].psnr_db[0]
        stopped = bool(before) and own < median(before)
        assert outcomes[number].steps == ((2,) if stopped else (2, 4))
        before.append(own)
    assert sum(len(each.steps) == 1 for each in outcomes) >= 2
    assert best_of(sizes, outcomes).architecture == TEACHER


def _check_both(search: Callable[[], list[Outcome]], folder: Path) -> None:
    whole = search()
    assert whole[0].steps == (2, 4), "the first one is compared with nobody"
    assert whole[1].steps in ((2,), (2, 4))
    files = {path: path.read_text() for path in folder.iterdir()}
    assert len(files) == 2
    # Killed while the second one was trained; the first is taken from its file.
    (folder / f"{SHORT.id}.json").unlink()
    first = folder / f"{HALF.id}.json"
    known = json.loads(files[first])
    known["psnr_db"][-1] = 99.0
    first.write_text(json.dumps(known))
    again = search()
    assert again[0].psnr_db[-1] == 99.0
    assert again[1] == whole[1]
    assert first.read_text() == json.dumps(known)
