"""Prompt sets of an experiment: from the shapes world or a file, never shared by both halves."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.experiment import ExperimentError
from experiments.prompts import check_disjoint, prompt_set
from experiments.sections import PromptsSection


def test_search_and_comparison_share_no_caption_of_the_world() -> None:
    search = prompt_set(PromptsSection(count=200), "validation")
    comparison = prompt_set(PromptsSection(count=200), "test")
    assert not set(search.prompts) & set(comparison.prompts)
    check_disjoint(search, comparison)
    assert all(
        own not in others for own, others in zip(search.prompts, search.distractors, strict=True)
    )


def test_lines_of_a_file_are_prompts(tmp_path: Path) -> None:
    path = tmp_path / "captions.txt"
    path.write_text("a cat\n\n  a dog \na bird\na fish\n", encoding="utf-8")
    first = prompt_set(PromptsSection(source=str(path), count=2), "validation")
    rest = prompt_set(PromptsSection(source=str(path), count=2, skip=2), "test")
    assert set(first.prompts) == {"a cat", "a dog"}
    assert set(rest.prompts) == {"a bird", "a fish"}
    with pytest.raises(
        ExperimentError, match=r"captions\.txt: has 4 different prompts, fewer than 5"
    ):
        prompt_set(PromptsSection(source=str(path), count=5), "test")


def test_a_file_s_prompts_are_in_random_order_which_the_seed_fixes(tmp_path: Path) -> None:
    """Races judge by the first ones, and files are sorted by kind."""
    path = tmp_path / "captions.txt"
    path.write_text("".join(f"prompt {i:03}\n" for i in range(200)), encoding="utf-8")

    def prompts(seed: int) -> tuple[str, ...]:
        section = PromptsSection(source=str(path), count=200, seed=seed)
        return prompt_set(section, "validation").prompts

    assert prompts(1) == prompts(1) != prompts(2)
    early = [int(prompt.split()[1]) for prompt in prompts(1)[:50]]
    assert min(early) < 40 < 160 < max(early)


def test_a_shared_prompt_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "captions.txt"
    path.write_text("a cat\na dog\na bird\n", encoding="utf-8")
    first = prompt_set(PromptsSection(source=str(path), count=2), "validation")
    overlapping = prompt_set(PromptsSection(source=str(path), count=2, skip=1), "test")
    with pytest.raises(ExperimentError, match="'a dog'"):
        check_disjoint(first, overlapping)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ExperimentError, match=r"lost\.txt: no readable text file"):
        prompt_set(PromptsSection(source="lost.txt", count=2), "test")
