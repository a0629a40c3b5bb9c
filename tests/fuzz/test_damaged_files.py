"""Whatever is done to a file that evounet reads, it is read, or refused in one line."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import tomli_w
import torch
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from mutation import damaged, damaged_bytes
from safetensors.torch import save

from experiments.cli import _meant_for_people
from experiments.experiment import load_experiment
from experiments.fault_log import load_faults
from experiments.prompt_files import read_prompts
from experiments.report.sample_files import load_samples
from experiments.run_comparison import read_run
from experiments.unets import choose_unet
from experiments.whole.folder import WholeFolder
from latency_tables import read_table, registry
from search.front import Front, FrontPoint
from search.state import SearchState
from supernet.checkpoint import load_tensors
from supernet.spec import Provenance, build_spec, read_spec

INVENTORY = choose_unet("shapes").inventory
FULL = INVENTORY.full()
FEWER = FULL.without(list(FULL)[::3])
PRESETS = sorted((Path(registry.__file__).parents[1] / "experiments/presets").glob("*.toml"))
TABLE = registry.SHIPPED / "epyc-1core-fp32.csv"

fuzzed = hypothesis_settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
seeds = st.integers(0, 2**32)


def refused_in_a_line_or_read(read: Callable[[], object], path: Path) -> None:
    """See that nothing but our own error of one line comes out, and that it names the file."""
    refusal = None
    try:
        read()
    except ValueError as error:
        refusal = error
    if refusal is not None:
        assert _meant_for_people(refusal.__traceback__), repr(refusal)
        assert "\n" not in str(refusal)
        assert path.name in str(refusal) or str(path.parent) in str(refusal)


def write(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def spec_value() -> Any:
    provenance = Provenance(experiment="toy", seed=0, evounet="0.1.0", weights=())
    spec = build_spec(INVENTORY, FEWER, (), None, provenance)
    return json.loads(spec.model_dump_json())


@fuzzed
@given(seed=seeds)
def test_specs(tmp_path: Path, seed: int) -> None:
    path = write(tmp_path / "spec.json", damaged(spec_value(), Random(seed)))
    refused_in_a_line_or_read(lambda: read_spec(path), path)


@fuzzed
@given(seed=seeds)
def test_the_architecture_of_a_spec(tmp_path: Path, seed: int) -> None:
    value = spec_value()
    value["multiplicities"] = damaged(value["multiplicities"], Random(seed))
    path = write(tmp_path / "spec.json", value)
    refused_in_a_line_or_read(lambda: choose_unet(str(path)), path)


@fuzzed
@given(seed=seeds)
def test_experiments(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    preset = random.choice(PRESETS)
    path = tmp_path / "experiment.toml"
    if random.random() < 0.5:
        path.write_bytes(damaged_bytes(preset.read_bytes(), random))
    else:
        value = damaged(load_experiment(preset).model_dump(mode="json", exclude_none=True), random)
        try:
            path.write_text(tomli_w.dumps(value), encoding="utf-8")
        except (TypeError, ValueError, AttributeError):  # TOML has no way to say it
            return
    refused_in_a_line_or_read(lambda: load_experiment(path), path)


@fuzzed
@given(seed=seeds, suffix=st.sampled_from(["csv", "toml"]))
def test_tables(tmp_path: Path, seed: int, suffix: str) -> None:
    for each in ("csv", "toml"):
        content = TABLE.with_suffix(f".{each}").read_bytes()
        if each == suffix:
            content = damaged_bytes(content, Random(seed))
        (tmp_path / f"{TABLE.stem}.{each}").write_bytes(content)
    path = tmp_path / f"{TABLE.stem}.toml"
    refused_in_a_line_or_read(lambda: read_table(path), tmp_path / TABLE.stem)


@fuzzed
@given(seed=seeds)
def test_states(tmp_path: Path, seed: int, recorded_state: Any) -> None:
    path = write(tmp_path / "state.json", damaged(recorded_state, Random(seed)))

    def load_and_tell() -> None:
        for decision in SearchState.load(path, FULL).decisions:
            assert list(decision.explain())

    refused_in_a_line_or_read(load_and_tell, path)


@fuzzed
@given(seed=seeds)
def test_fronts(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "front.json"
    points = (FrontPoint(FEWER, 10.0, 0.8), FrontPoint(FULL, 30.0, 0.9))
    Front(1, "0" * 12, 0.9, points).save(path)
    write(path, damaged(json.loads(path.read_text()), Random(seed)))
    refused_in_a_line_or_read(lambda: Front.load(path, FULL), path)


@fuzzed
@given(seed=seeds)
def test_records_of_whole_runs(tmp_path: Path, seed: int) -> None:
    value = {
        "search": {"identity": "0" * 12, "done": True},
        "steps": {"identity": "", "done": False},
    }
    folder = WholeFolder(tmp_path)
    write(folder.records, damaged(value, Random(seed)))
    refused_in_a_line_or_read(lambda: folder.record("search"), folder.records)


@fuzzed
@given(seed=seeds)
def test_samples(tmp_path: Path, seed: int) -> None:
    value = [{"title": "base", "captions": ["a", "b"], "clip_scores": [0.1, 0.2]}]
    path = write(tmp_path / "samples.json", damaged(value, Random(seed)))
    refused_in_a_line_or_read(lambda: load_samples(tmp_path), path)


@fuzzed
@given(seed=seeds)
def test_fault_logs(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "faults.jsonl"
    line = {"at": "2026-11-26T10:00:00", "kind": "lost", "worker": "w", "text": "gone"}
    path.write_text(json.dumps(damaged(line, Random(seed))) + "\n")
    refused_in_a_line_or_read(lambda: load_faults(path), path)


@fuzzed
@given(seed=seeds, suffix=st.sampled_from(["json", "tsv", "csv", "txt"]))
def test_prompt_files(tmp_path: Path, seed: int, suffix: str) -> None:
    random = Random(seed)
    path = tmp_path / f"prompts.{suffix}"
    coco = {"annotations": [{"image_id": 1, "id": 2, "caption": "a cat"}]}
    text = "Prompt\tCategory\na cat\tanimals\n" if suffix == "tsv" else "prompts\na cat\na dog\n"
    content = json.dumps(damaged(coco, random)) if suffix == "json" else text
    path.write_bytes(damaged_bytes(content.encode(), random) if seed % 2 else content.encode())
    refused_in_a_line_or_read(lambda: read_prompts(path), path)


@fuzzed
@given(seed=seeds)
def test_weights(tmp_path: Path, seed: int) -> None:
    content = save({"a": torch.ones(3), "b": torch.zeros(2, 2)}, {"seed": "0"})
    path = tmp_path / "weights.safetensors"
    path.write_bytes(damaged_bytes(content, Random(seed)))
    refused_in_a_line_or_read(lambda: load_tensors(path), path)


@fuzzed
@given(seed=seeds, name=st.sampled_from(["decisions.jsonl", "result.json", "experiment.toml"]))
def test_run_folders_that_are_compared(
    tmp_path: Path, seed: int, name: str, recorded_run: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir(exist_ok=True)
    for file in recorded_run.iterdir():
        content = file.read_bytes()
        damaged_now = damaged_bytes(content, Random(seed)) if file.name == name else content
        (folder / file.name).write_bytes(damaged_now)
    refused_in_a_line_or_read(lambda: read_run(folder), folder / name)


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
    assert math.isfinite(path.stat().st_size)
