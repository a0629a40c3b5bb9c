"""The section ``[sweep]`` of an experiment file: which keys are tried with which values."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, SkipValidation, field_validator, model_serializer, model_validator

from experiments.sections import Section

_DIGITS = 4  # of a drawn number: more would only be hard to read
_FORM = "write a list of values, or { low = 1, high = 8 }, with log = true for equal ratios"


class Parameter(Section):
    """What one key of the experiment is tried with: a list of values, or a range of numbers.

    Attributes:
        values: of a list.
        low, high: of a range, both included; whole numbers if both are.
        log: whether equal ratios are equally likely, instead of equal differences.
    """

    values: tuple[Any, ...] | None = None
    low: SkipValidation[int | float | None] = None
    high: SkipValidation[int | float | None] = None
    log: bool = False

    @model_validator(mode="before")
    @classmethod
    def _list_or_table(cls, given: Any) -> Any:
        if isinstance(given, (list, tuple)):
            return {"values": tuple(given)}
        if not isinstance(given, dict) or not set(given) <= set(cls.model_fields):
            raise ValueError(_FORM)
        return given

    @model_validator(mode="after")
    def _one_of_both(self) -> Parameter:
        if self.values is not None:
            if not self.values or self.low is not None or self.high is not None or self.log:
                raise ValueError(_FORM)
            if any(value in self.values[:i] for i, value in enumerate(self.values)):
                raise ValueError("a value is there twice; leave one out")
            return self
        if not all(type(end) in (int, float) for end in (self.low, self.high)):
            raise ValueError(_FORM)
        low, high = self._ends
        if not low < high:
            raise ValueError(f"low {low:g} is not below high {high:g}")
        if self.log and low <= 0:
            raise ValueError(f"low {low:g}: equal ratios begin above 0; or leave log out")
        return self

    @model_serializer
    def _as_written(self) -> list[Any] | dict[str, Any]:
        if self.values is not None:
            return list(self.values)
        return {"low": self.low, "high": self.high, "log": self.log}

    @property
    def _ends(self) -> tuple[float, float]:
        assert self.low is not None
        assert self.high is not None
        return self.low, self.high

    @property
    def whole(self) -> bool:
        """Whether it is a range of whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def ends(self) -> tuple[Any, ...]:
        """What has to be possible for all its values to be: a list's values, a range's ends."""
        return self._ends if self.values is None else self.values

    @property
    def choices(self) -> tuple[Any, ...] | None:
        """All its values, where they can be counted."""
        if self.whole:
            return tuple(range(int(self._ends[0]), int(self._ends[1]) + 1))
        return self.values

    def at(self, share: float) -> Any:
        """The value at a share in [0, 1) of it; every part of it is as long as it is likely."""
        if self.values is not None:
            return self.values[int(share * len(self.values))]
        low, high = self._ends
        end = high + 1 if self.whole else high
        value = low * (end / low) ** share if self.log else low + share * (end - low)
        if self.whole:
            return min(math.floor(value), high)
        return min(max(float(f"{value:.{_DIGITS}g}"), low), high)


class SweepSection(Section):
    """Trials of one experiment, each a search with values of its own for some keys.

    All have the same seed, prompts and target, so they compare. Asynchronous successive halving
    (ASHA, arXiv 1810.05934) ends those early that are behind: trials are compared at the latencies
    that divide the way to the target as ``search.rounds`` of the experiment does.

    Attributes:
        trials: how many; fewer if the lists of values have fewer combinations.
        concurrent: trials at a time. One trial keeps all evaluators busy, so more gain little; and
            ASHA decides by what was reported before, so only with 1 does the same sweep always
            stop the same trials.
        metric: what the best one is chosen by: ``clip`` of the architecture found, on the search's
            prompts and before the final training; or ``final_clip`` after it, on the comparison's
            prompts, which then are no longer unseen.
        reduction_factor: n: of those that came to a comparison, about one in n goes on.
        grace_rounds: the round after which trials are first compared, in rounds of the experiment;
            then after n times as many, and so on.
        parameters: keys of the experiment, as for ``--set``, and their values.
    """

    trials: int = Field(ge=1)
    concurrent: int = Field(1, ge=1)
    metric: Literal["clip", "final_clip"] = "clip"
    reduction_factor: int = Field(2, ge=2)
    grace_rounds: int = Field(1, ge=1)
    parameters: dict[str, Parameter] = Field(min_length=1)

    @field_validator("parameters", mode="before")
    @classmethod
    def _by_dotted_key(cls, given: Any) -> Any:
        return dict(_flat(given, "")) if isinstance(given, dict) else given


def _flat(table: dict[str, Any], prefix: str) -> list[tuple[str, Any]]:
    """Parameters by their whole keys: in TOML a key that is not quoted opens tables."""
    found = []
    for key, value in table.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value and not set(value) & set(Parameter.model_fields):
            found += _flat(value, f"{name}.")
        else:
            found.append((name, value))
    return found
