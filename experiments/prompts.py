"""Prompt sets of an experiment: captions of the shapes world, or lines of a file."""

from __future__ import annotations

from pathlib import Path

from evaluators.prompts import PromptSet
from experiments.experiment import ExperimentError, PromptsSection
from experiments.models import SHAPES
from experiments.shapes.scene import Split, sample_scenes


def prompt_set(section: PromptsSection, split: Split) -> PromptSet:
    """The prompts that a section of an experiment asks for.

    Args:
        section: source, number and seed.
        split: of the shapes world; a file's prompts are taken as they are.

    Raises:
        ExperimentError: if the file is missing, no text, or too short.
    """
    if section.source == SHAPES:
        scenes = sample_scenes(split, section.count, section.seed, unique=True)
        return PromptSet(
            tuple(scene.caption for scene in scenes),
            section.seed,
            tuple(tuple(scene.distractors()) for scene in scenes),
        )
    path = Path(section.source)
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ExperimentError(
            f"{path}: no readable text file ({error}); give one prompt a line, or 'shapes'"
        ) from error
    prompts = [line for line in lines if line][section.skip : section.skip + section.count]
    if len(prompts) < section.count:
        raise ExperimentError(
            f"{path}: has {len(prompts)} prompts from line {section.skip + 1} on, "
            f"{section.count} are asked for; lower prompts.count or add prompts"
        )
    return PromptSet(tuple(prompts), section.seed)


def check_disjoint(search: PromptSet, comparison: PromptSet) -> None:
    """Refuse a comparison on prompts that the search was steered by.

    Raises:
        ExperimentError: naming a prompt that both have.
    """
    shared = [prompt for prompt in comparison.prompts if prompt in set(search.prompts)]
    if shared:
        raise ExperimentError(
            f"comparison.prompts: {len(shared)} prompts are also in evaluation.prompts, such as "
            f"{shared[0]!r}; use another file or set comparison.prompts.skip past them"
        )
