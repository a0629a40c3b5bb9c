"""Specs: read back as written, of both versions, and as the published schema says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_unet import architectures

from supernet import spec as spec_module
from supernet.architecture import Architecture, ArchitectureError, BlockId
from supernet.spec import (
    ClipFigure,
    Provenance,
    Spec,
    TableFigure,
    WeightsFile,
    build_spec,
    read_spec,
    spec_schema,
)
from supernet.supernet import Supernet

SCHEMA = Path(spec_module.__file__).with_name("spec.schema.json")
LATENCY = TableFigure(
    table="toy", digest="a" * 64, device="a toy", precision="fp32", base_ms=2.0, found_ms=1.0
)
CLIP = ClipFigure(
    base=0.3,
    found=0.29,
    prompts=4,
    prompt_set="0123456789",
    num_inference_steps=8,
    guidance_scale=2.0,
    precision="fp32",
    judge="shapes",
)
MADE = Provenance(
    experiment="e",
    seed=0,
    evounet="0",
    weights=(WeightsFile(file="unet/weights.safetensors", sha256="b" * 64),),
)


def spec_of(supernet: Supernet, architecture: Architecture) -> Spec:
    return build_spec(supernet.inventory, architecture, (LATENCY,), CLIP, MADE)


@pytest.fixture
def value(supernet: Supernet) -> dict[str, Any]:
    """The JSON of a spec with one block removed and one repeated."""
    changed = {BlockId.parse("resnet mid/0"): 0, BlockId.parse("cross_attention up.1/0"): 2}
    spec = spec_of(supernet, supernet.full().with_multiplicities(changed))
    loaded: dict[str, Any] = json.loads(spec.model_dump_json())
    return loaded


def write(path: Path, value: dict[str, Any]) -> Path:
    path.write_text(json.dumps(value))
    return path


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_any_architecture_comes_back(
    supernet: Supernet, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    architecture = data.draw(architectures(supernet.inventory))
    written = spec_of(supernet, architecture)
    path = tmp_path_factory.mktemp("spec") / "spec.json"
    path.write_text(written.model_dump_json())
    assert read_spec(path) == written
    assert read_spec(path).architecture() == architecture
    jsonschema.validate(json.loads(path.read_text()), json.loads(SCHEMA.read_text()))


def test_it_names_every_block(value: dict[str, Any], supernet: Supernet) -> None:
    assert list(value["multiplicities"]) == [str(block) for block in supernet.full()]
    assert Spec.model_validate(value).changed == {"resnet mid/0": 0, "cross_attention up.1/0": 2}


def test_the_published_schema_is_this_versions() -> None:
    remedy = "write it anew: python -m supernet.spec > supernet/spec.schema.json"
    assert SCHEMA.read_text() == spec_schema(), remedy


@pytest.mark.parametrize(
    ("field", "wrong"),
    [("version", 1), ("parameters", [1]), ("clip", {}), ("weights", "mine"), ("stages", None)],
)
def test_the_schema_refuses_what_is_no_spec(
    value: dict[str, Any], field: str, wrong: object
) -> None:
    schema = json.loads(SCHEMA.read_text())
    jsonschema.validate(value, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value | {field: wrong}, schema)


def test_one_of_version_1_is_read(value: dict[str, Any], tmp_path: Path) -> None:
    """As evounet 0.1.0 wrote them: without blocks that run once, and files of weights."""
    current = Spec.model_validate(value)
    value["version"] = 1
    value["multiplicities"] = current.changed
    del value["latency"][0]["digest"]
    del value["clip"]["prompt_set"], value["clip"]["precision"]
    value["provenance"] = {"experiment": "e", "seed": 0, "evounet": "0.1.0", "weights": "c" * 12}
    spec = read_spec(write(tmp_path / "spec.json", value))
    assert spec.version == 2
    assert spec.multiplicities == current.multiplicities
    assert spec.architecture() == current.architecture()
    assert spec.provenance.tensors == "c" * 12
    assert spec.provenance.weights == ()
    assert (spec.parameters, spec.macs, spec.stages) == (
        current.parameters,
        current.macs,
        current.stages,
    )


@pytest.mark.parametrize("version", [0, 3, "2", None])
def test_unknown_versions_are_refused(
    value: dict[str, Any], tmp_path: Path, version: object
) -> None:
    path = write(tmp_path / "spec.json", value | {"version": version})
    message = f"field 'version' is {version!r}, this evounet reads 1 and 2; use the evounet that"
    with pytest.raises(ArchitectureError, match=message):
        read_spec(path)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("field", ["base", "multiplicities", "latency", "provenance", "clip"])
def test_what_lacks_is_named(
    value: dict[str, Any], tmp_path: Path, version: int, field: str
) -> None:
    del value[field]
    with pytest.raises(ArchitectureError, match=f"spec.json: field '{field}': Field required"):
        read_spec(write(tmp_path / "spec.json", value | {"version": version}))


def test_a_field_of_two_lines_is_refused_in_one(tmp_path: Path) -> None:
    """Found by fuzzing."""
    path = tmp_path / "spec.json"
    path.write_text(json.dumps({"version": 2, "a\nb": 1}))
    with pytest.raises(ArchitectureError) as refusal:
        read_spec(path)
    assert "\n" not in str(refusal.value)
