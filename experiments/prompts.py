"""Prompt sets of an experiment: captions of the shapes world, or those of a file."""

from __future__ import annotations

import random
from pathlib import Path

from evaluators.prompts import PromptSet
from experiments.experiment import ExperimentError
from experiments.models import SHAPES
from experiments.prompt_files import read_prompts
from experiments.sections import PromptsSection
from experiments.shapes.scene import Split, sample_scenes


def prompt_set(section: PromptsSection, split: Split) -> PromptSet:
    """The prompts that a section of an experiment asks for.

    Args:
        section: source, number and seed.
        split: of the shapes world; a file's prompts are taken as they are, in random order, for
            races judge by the first of them and files are often sorted by kind.

    Raises:
        ExperimentError: if the file is missing, damaged, or too short.
    """
    if section.source == SHAPES:
        scenes = sample_scenes(split, section.count, section.seed, unique=True)
        return PromptSet(
            tuple(scene.caption for scene in scenes),
            section.seed,
            tuple(tuple(scene.distractors()) for scene in scenes),
        )
    known = read_prompts(Path(section.source))
    prompts = list(known[section.skip : section.skip + section.count])
    if len(prompts) < section.count:
        raise ExperimentError(
            f"{section.source}: has {len(known)} different prompts, fewer than {section.count} "
            f"after the first {section.skip}; lower prompts.count or add prompts"
        )
    random.Random(section.seed).shuffle(prompts)
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
