"""Whatever is done to a file that evounet reads, it is read, or refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutation import damaged_file
from targets import TARGETS, Target

from experiments.cli import _meant_for_people
from supernet.checkpoint import load_tensors

_targets = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)


@_targets
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32))
def test_damage_is_told_in_a_line(target: Target, tmp_path: Path, seed: int) -> None:
    """By our own error, not by whatever a library says, and by the name of the file."""
    random = Random(seed)
    content = damaged_file(target.file, random.choice(target.valid), random)
    told_in_a_line(target, target.refusal(content, in_folder(tmp_path)))


@_targets
def test_what_is_not_damaged_is_read(target: Target, tmp_path: Path) -> None:
    for content in target.valid:
        assert target.refusal(content, in_folder(tmp_path)) is None


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b"a = [", b"a = {b = "])
@_targets
def test_nesting_without_end_is_refused(target: Target, opening: bytes, tmp_path: Path) -> None:
    before, bracket = opening[:-1], opening[-1:]
    content = opening * 50_000 if before.startswith(b"{") else before + bracket * 50_000
    told_in_a_line(target, target.refusal(content, in_folder(tmp_path)))


def test_what_guided_fuzzing_found_is_refused(tmp_path: Path) -> None:
    state, spec = (json.loads(TARGETS[name].valid[0]) for name in ("state", "architecture"))
    decision = state["decisions"][0]
    decision["candidates"] = decision["candidates"][1:]
    spec["base"]["sample_size"] = 1.5
    unable = json.loads(json.dumps(spec))
    unable["base"] |= {"sample_size": 16, "norm_eps": "small"}
    first = unable | {"version": 1, "multiplicities": {"resnet up*3/0": 1}}
    first["provenance"] = first["provenance"] | {"weights": "0" * 12}
    for name, value, reason in (
        ("state", state, "was executed and is no candidate"),
        ("architecture", spec, "field 'sample_size' is 1.5"),
        ("architecture", first, "field 'multiplicities': unknown stage"),
        ("architecture", unable, "a UNet of this configuration cannot run"),
    ):
        refusal = TARGETS[name].refusal(json.dumps(value).encode(), in_folder(tmp_path))
        told_in_a_line(TARGETS[name], refusal)
        assert reason in str(refusal)


def in_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir(exist_ok=True)
    return folder


def told_in_a_line(target: Target, refusal: ValueError | None) -> None:
    if refusal is not None:
        assert _meant_for_people(refusal.__traceback__), repr(refusal)
        assert "\n" not in str(refusal)
        assert target.name in str(refusal)


def test_pickles_are_refused_wherever_weights_are_read(tmp_path: Path) -> None:
    """A planted pickle would touch a file if it were ever unpickled."""
    planted = tmp_path / "planted"

    class Planted:
        def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
            return (Path.touch, (planted,))

    path = tmp_path / "weights.safetensors"
    torch.save({"weight": Planted()}, path)
    with pytest.raises(ValueError, match=r"weights\.safetensors: cannot be read as safetensors"):
        load_tensors(path)
    assert not planted.exists()
