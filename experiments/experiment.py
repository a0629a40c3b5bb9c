"""Experiment files: what a run is, in TOML, checked before anything happens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import tomli_w
from pydantic import BaseModel, Field, ValidationError

from experiments.decoder.section import DecoderSection
from experiments.sections import (
    MAX_SEED,
    ComparisonSection,
    EvaluationSection,
    LatencySection,
    LimitsSection,
    ModelSection,
    SearchSection,
    Section,
    SupernetTraining,
    TrainingSection,
    WorkersSection,
)
from experiments.shapes.base_training import BaseTraining
from experiments.steps.section import StepsSection
from experiments.sweep.section import SweepSection
from experiments.whole.section import WholeSection
from latency_tables.parsing import parse_toml

PRESETS = Path(__file__).parent / "presets"


_Model = TypeVar("_Model", bound=BaseModel)


class ExperimentError(ValueError):
    """An experiment file that cannot be used; the message names file, field and fix."""


class Experiment(Section):
    """One experiment file.

    Attributes:
        name: of the run folder, ``runs/<name>``, unless another is given.
        seed: fixes every random choice.
        sweep: for ``evounet sweep``; a single search goes without.
        whole: for ``evounet run``, as are ``base`` and ``supernet``.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: int = Field(0, ge=0, le=MAX_SEED)
    model: ModelSection = ModelSection()
    latency: LatencySection
    limits: LimitsSection = LimitsSection()
    evaluation: EvaluationSection = EvaluationSection()
    search: SearchSection = SearchSection()
    training: TrainingSection = TrainingSection()
    workers: WorkersSection = WorkersSection()
    comparison: ComparisonSection = ComparisonSection()
    decoder: DecoderSection = DecoderSection()
    steps: StepsSection = StepsSection()
    base: BaseTraining = BaseTraining()
    supernet: SupernetTraining = SupernetTraining()
    whole: WholeSection = WholeSection()
    sweep: SweepSection | None = None

    def on_workers(self, count: int | None, address: str | None) -> Experiment:
        """The same on so many evaluators, or at an address, where these are given."""
        changed = {"count": count, "address": address}
        given = {name: value for name, value in changed.items() if value is not None}
        return self.model_copy(update={"workers": self.workers.model_copy(update=given)})

    def to_toml(self) -> str:
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def load_experiment(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read an experiment file (or a preset by its name) and apply ``key=value`` overrides.

    Args:
        path: a TOML file, or the name of a file in ``experiments/presets`` without ``.toml``.
        overrides: like ``search.rounds=2``, or in a list ``steps.stages.0.name=a``; the value is
            TOML, or else taken as a string. An empty value takes the key away, so that its default
            holds.

    Raises:
        ExperimentError: naming the file, the field and the fix.
    """
    preset = PRESETS / f"{path}.toml"
    if not path.is_file() and path.name == str(path) and preset.is_file():
        path = preset
    try:
        values = parse_toml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(sorted(p.stem for p in PRESETS.glob("*.toml")))
        raise ExperimentError(f"{path}: no such file; presets are: {known}") from None
    except (OSError, ValueError) as error:
        raise ExperimentError(f"{path}: not readable as TOML: {error}") from error
    return resolve(Experiment, values, overrides, str(path))


def resolve(
    model: type[_Model], values: dict[str, Any], overrides: Sequence[str], where: str
) -> _Model:
    """Settings from the values of a file and ``key=value`` overrides.

    Raises:
        ExperimentError: naming ``where``, the field and the fix.
    """
    for override in overrides:
        _override(values, override)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ExperimentError(f"{where}: {_first_problem(model, error)}") from error


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = (part.strip() for part in override.partition("="))
    if not equals or not key:
        raise ExperimentError(f"--set {override}: write it as key=value, like search.rounds=2")
    try:
        value = parse_toml(f"value = {text}")["value"]
    except ValueError:
        value = text
    *parents, last = key.split(".")
    section: Any = values
    for parent in parents:
        place = _place(section, parent, override)
        section = section[place] if isinstance(section, list) else section.setdefault(place, {})
        if not isinstance(section, dict | list):
            raise ExperimentError(f"--set {override}: '{parent}' is a value, not a section")
    place = _place(section, last, override)
    if text:
        section[place] = value
    elif isinstance(section, list) or place in section:
        del section[place]
    else:
        raise ExperimentError(f"--set {override}: there is no '{key}' to take away; name a value")


def _place(section: dict[str, Any] | list[Any], part: str, override: str) -> Any:
    """Part of a key as it is found in its section; those of a list are counted from 0.

    Raises:
        ExperimentError: if a list has no such place.
    """
    if isinstance(section, dict):
        return part
    if not part.isdecimal() or int(part) >= len(section):
        raise ExperimentError(
            f"--set {override}: '{part}' is no place in a list of {len(section)}; count from 0"
        )
    return int(part)


def _first_problem(model: type[BaseModel], error: ValidationError) -> str:
    # First a misspelt key: it explains the one that is missing.
    problem = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    field, keys = _located(model, problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        return f"unknown key {field!r}; there are: {keys}"
    if problem["type"] == "missing":
        return f"{field!r} is missing; add it"
    if isinstance(problem["input"], dict):  # a section whose fields do not go together
        return f"{field!r}: {message}"
    return f"{field!r} is {json.dumps(problem['input'], default=str)}: {message}"


def _located(model: type[BaseModel], location: Sequence[int | str]) -> tuple[str, str]:
    """A field's name as in the file, and the keys that its section has.

    Where settings are of several kinds, pydantic puts the kind into the location.
    """
    names: list[str] = []
    section = models = [model]
    for step in location:
        of_kind = [each for each in models if _kind(each) == step]
        if len(models) > 1 and of_kind:
            models = of_kind
            continue
        names.append(str(step))
        if isinstance(step, str):
            section = models
            fields = [each.model_fields[step] for each in models if step in each.model_fields]
            models = [each for field in fields for each in _models_in(field.annotation)]
    keys = dict.fromkeys(key for each in section for key in each.model_fields)
    return ".".join(names) or "experiment", ", ".join(keys)


def _kind(model: type[BaseModel]) -> object:
    return model.model_fields["kind"].default if "kind" in model.model_fields else None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [each for part in get_args(annotation) for each in _models_in(part)]
