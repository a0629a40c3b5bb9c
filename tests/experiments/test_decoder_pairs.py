"""Pairs on disk: none lost or doubled by a kill, and damage is told in one line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file

from distillation.pairs import Pairs, decode
from evaluators.pipelines import load_pipeline
from evaluators.prompts import PromptSet
from experiments.data.source import DataError
from experiments.decoder.drawing import check_unseen, random_prompts
from experiments.decoder.section import PairPromptsSection
from experiments.decoder.stored_pairs import (
    INDEX,
    Origin,
    PairStore,
    StoredPairs,
    decoder_digest,
)
from experiments.decoder.trainer import StreamedPairs
from experiments.experiment import ExperimentError
from experiments.models import pipeline_source

COUNT, SHARD, BATCH = 10, 4, 3


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def teacher() -> AutoencoderKL:
    return load_pipeline(pipeline_source("shapes")).vae


@pytest.fixture
def origin(teacher: AutoencoderKL) -> Origin:
    return Origin(
        pipeline="shapes",
        decoder=decoder_digest(teacher),
        scaling_factor=teacher.config.scaling_factor,
        drawn="0123",
        latents=(4, 16, 16),
        pictures=(3, 64, 64),
        count=COUNT,
        shard_size=SHARD,
    )


class Maker:
    """Every pair is a function of its number; a part of them ends the process."""

    def __init__(self, teacher: AutoencoderKL, dies_at: int | None = None) -> None:
        self.teacher = teacher
        self.dies_at = dies_at
        self.made: list[int] = []

    def latents(self, number: int) -> torch.Tensor:
        return torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(number))

    @torch.no_grad()
    def __call__(self, rows: range) -> Iterator[Pairs]:
        for start in range(0, len(rows), BATCH):
            numbers = rows[start : start + BATCH]
            if self.dies_at in numbers:
                raise Killed
            self.made += numbers
            latents = torch.stack([self.latents(number) for number in numbers])
            yield Pairs(latents, decode(self.teacher, latents))


def unseen(done: int, figures: dict[str, float]) -> None:
    pass


@pytest.fixture
def stored(tmp_path: Path, origin: Origin, teacher: AutoencoderKL) -> Path:
    PairStore(tmp_path, origin).fill(Maker(teacher), unseen)
    return tmp_path


@pytest.mark.parametrize("dies_at", [0, 5, 9])
def test_a_killed_run_goes_on_without_a_lost_or_doubled_pair(
    tmp_path: Path, origin: Origin, teacher: AutoencoderKL, dies_at: int
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    PairStore(whole, origin).fill(Maker(teacher), unseen)
    with pytest.raises(Killed):
        PairStore(broken, origin).fill(Maker(teacher, dies_at), unseen)
    store, maker = PairStore(broken, origin), Maker(teacher)
    assert store.left == COUNT - dies_at // SHARD * SHARD
    store.fill(maker, unseen)
    assert maker.made == list(range(dies_at // SHARD * SHARD, COUNT))
    files = sorted(path.name for path in whole.iterdir())
    assert sorted(path.name for path in broken.iterdir()) == files
    assert all((whole / name).read_bytes() == (broken / name).read_bytes() for name in files)


def test_killed_between_shard_and_index_the_shard_is_made_again(
    tmp_path: Path, origin: Origin, teacher: AutoencoderKL, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("experiments.decoder.stored_pairs.PairsIndex.save", die)
        with pytest.raises(Killed):
            PairStore(tmp_path, origin).fill(Maker(teacher), unseen)
    assert (tmp_path / "pairs-00000.safetensors").exists()
    PairStore(tmp_path, origin).fill(Maker(teacher), unseen)
    pairs = StoredPairs(tmp_path, teacher)
    expected = torch.stack([Maker(teacher).latents(number) for number in range(COUNT)])
    assert torch.equal(pairs.rows(list(range(COUNT))).latents, expected.half())


def test_an_epoch_has_every_pair_once(stored: Path, teacher: AutoencoderKL) -> None:
    pairs = StoredPairs(stored, teacher)
    batches = pairs.batches(2, seed=3)
    epoch = torch.cat([batches(step, range(2)).latents for step in range(COUNT // 2)])
    everything = pairs.rows(list(range(COUNT))).latents
    assert sorted(epoch.sum((1, 2, 3)).tolist()) == sorted(everything.sum((1, 2, 3)).tolist())
    assert not torch.equal(epoch, everything)
    assert torch.equal(batches(1, range(1, 2)).latents, epoch[3:4])


def test_a_truncated_shard_is_named(stored: Path, teacher: AutoencoderKL) -> None:
    path = stored / "pairs-00001.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"pairs-00001\.safetensors: cannot be read .*pairs again"):
        StoredPairs(stored, teacher)


def test_a_pair_that_is_nan_is_named(stored: Path, teacher: AutoencoderKL) -> None:
    change(stored / "pairs-00001.safetensors", "pictures", lambda all_: all_[2].fill_(torch.nan))
    pairs = StoredPairs(stored, teacher)
    pairs.rows([5])
    with pytest.raises(DataError, match=r"pairs-00001\.safetensors, row 2: the pictures are not"):
        pairs.rows([6])


def test_pairs_that_are_nan_are_not_stored(
    tmp_path: Path, origin: Origin, teacher: AutoencoderKL
) -> None:
    def make(rows: range) -> Iterator[Pairs]:
        for part in Maker(teacher)(rows):
            part.latents[:] = torch.nan if 4 in rows else part.latents
            yield part

    with pytest.raises(DataError, match="pair 4 and those drawn with it: the latents are not"):
        PairStore(tmp_path, origin).fill(make, unseen)
    assert PairStore(tmp_path, origin).index.pairs == SHARD


def test_latents_at_another_scale_are_refused(stored: Path, teacher: AutoencoderKL) -> None:
    change(stored / "pairs-00000.safetensors", "latents", lambda latents: latents.mul_(0.18215))
    with pytest.raises(DataError, match=r"pairs-00000.* standard deviation of 0\.18"):
        StoredPairs(stored, teacher)


def test_another_autoencoder_is_refused(stored: Path, teacher: AutoencoderKL) -> None:
    other = AutoencoderKL.from_config({**teacher.config, "scaling_factor": 0.18215})
    with pytest.raises(DataError, match=r"'scaling_factor' is 0\.98782, this .* is 0\.18215"):
        StoredPairs(stored, other)
    other = AutoencoderKL.from_config(teacher.config)
    with pytest.raises(DataError, match="another decoder"):
        StoredPairs(stored, other)


def test_unfinished_damaged_and_other_pairs_are_refused(
    tmp_path: Path, origin: Origin, teacher: AutoencoderKL
) -> None:
    with pytest.raises(Killed):
        PairStore(tmp_path, origin).fill(Maker(teacher, dies_at=5), unseen)
    with pytest.raises(DataError, match="is unfinished, 4 of 10 pairs are there"):
        StoredPairs(tmp_path, teacher)
    with pytest.raises(DataError, match="pairs of other settings"):
        PairStore(tmp_path, origin.model_copy(update={"drawn": "4567"}))
    (tmp_path / INDEX).write_text("{")
    with pytest.raises(DataError, match=r"pairs\.json: cannot be read"):
        PairStore(tmp_path, origin)


def change(path: Path, name: str, how: object) -> None:
    tensors = load_file(path)
    how(tensors[name])
    save_file(tensors, path)


def test_streamed_pairs_are_used_once_and_in_order_after_a_resume_too(
    teacher: AutoencoderKL,
) -> None:
    asked: list[range] = []

    def make(rows: range) -> Iterator[Pairs]:
        asked.append(rows)
        return Maker(teacher)(rows)

    whole = StreamedPairs(make, 12, BATCH).batches(4, seed=0)
    batches = [whole(step, range(4)).latents for step in range(3)]
    expected = torch.stack([Maker(teacher).latents(number) for number in range(12)])
    assert torch.equal(torch.cat(batches), expected)
    resumed = StreamedPairs(make, 12, BATCH).batches(4, seed=0)
    assert torch.equal(resumed(2, range(0, 4, 2)).latents, batches[2][::2])
    assert torch.equal(resumed(2, range(1, 4, 2)).latents, batches[2][1::2])
    assert asked == [range(12), range(6, 12)], "a batch begins where it began before"


def test_prompts_come_equally_often(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("one\ntwo\nthree\nfour\n")
    section = PairPromptsSection(source=str(path), skip=1)
    prompts = random_prompts(section, 7).prompts
    assert {prompts.count(each) for each in ("two", "three", "four")} == {2, 3}
    assert prompts == random_prompts(section, 9).prompts[:7]
    other = PairPromptsSection(source=str(path), skip=1, seed=5)
    assert prompts != random_prompts(other, 7).prompts
    for wrong in ({"skip": 4}, {"count": 5}):
        with pytest.raises(ExperimentError, match="has 4 different prompts, too few"):
            random_prompts(PairPromptsSection(source=str(path), **wrong), 7)


def test_a_decoder_is_not_measured_on_prompts_that_it_learns_from() -> None:
    drawn, others = PromptSet(("one", "two", "one"), 0), PromptSet(("three",), 0)
    check_unseen(drawn, others, "comparison.prompts")
    with pytest.raises(ExperimentError, match=r"comparison\.prompts: 1 prompts are also .* 'two'"):
        check_unseen(drawn, PromptSet(("two", "three"), 1), "comparison.prompts")
