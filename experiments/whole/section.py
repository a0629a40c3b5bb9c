"""The section ``[whole]`` of an experiment file: what of the whole paper a run does."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from experiments.sections import Section

StageName = Literal["base", "supernet", "search", "decoder", "steps"]
BASE, FOUND = "base", "search"  # how stages of [steps] name the base pipeline and the found UNet


class WholeSection(Section):
    """Which stages ``evounet run`` does, and how base and final pipeline are compared.

    A stage that is left out passes on what was there before it: the pipeline's own UNet, decoder
    or number of steps.

    Attributes:
        stages: ``base`` trains every model of the shapes world from nothing (``[base]``),
            ``supernet`` the base UNet robustly (``[supernet]``), ``search`` looks for the
            efficient UNet, ``decoder`` shrinks the image decoder, ``steps`` the number of steps.
        base_steps: that the base pipeline draws with in the comparison.
        timed: pictures that each pipeline is timed on, one at a time and in turns.
    """

    stages: tuple[StageName, ...] = ("search", "decoder", "steps")
    base_steps: int = Field(50, ge=1)
    timed: int = Field(5, ge=2)

    @field_validator("stages")
    @classmethod
    def _each_once(cls, value: tuple[StageName, ...]) -> tuple[StageName, ...]:
        for name in value:
            if value.count(name) > 1:
                raise ValueError(f"'{name}' is named twice; name each stage once")
        if not value:
            raise ValueError("name a stage at least, such as 'search'")
        return value
