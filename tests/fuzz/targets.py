"""The files that evounet reads from anywhere: valid ones to begin with, and who reads them."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image
from safetensors.torch import save

from evaluators.pool_events import PoolEvent
from experiments.data.cache_index import INDEX as CACHE
from experiments.data.cache_index import CacheIndex, MadeFrom, Shard
from experiments.data.cache_index import load_index as load_cache
from experiments.data.folder import PictureFolder
from experiments.data.picture import decode
from experiments.data.source import Source
from experiments.data.tar_shards import TarShards
from experiments.decoder.choice import choose_decoders
from experiments.decoder.stored_pairs import INDEX as PAIRS
from experiments.decoder.stored_pairs import Origin, PairsIndex
from experiments.decoder.stored_pairs import load_index as load_pairs
from experiments.experiment import load_experiment
from experiments.fault_log import load_faults
from experiments.models import pipeline_source
from experiments.prompt_files import read_prompts
from experiments.report.sample_files import load_samples
from experiments.run_comparison import read_run
from experiments.unets import choose_unet
from experiments.whole.folder import WholeFolder
from latency_tables import read_table, registry
from search.action import Action
from search.decision import Candidate, Decision, SecondOpinion
from search.front import Front, FrontPoint
from search.state import SearchState
from supernet.checkpoint import load_tensors
from supernet.spec import Provenance, build_spec, read_spec

_INVENTORY = choose_unet("shapes").inventory
_FULL = _INVENTORY.full()
_FEWER = _FULL.without(list(_FULL)[::3])
_PRESETS = sorted((Path(registry.__file__).parents[1] / "experiments/presets").glob("*.toml"))
_SHAPES_VAE = Path(pipeline_source("shapes")) / "vae"
_TABLE = registry.SHIPPED / "epyc-1core-fp32.csv"


@dataclass(frozen=True)
class Target:
    """A file.

    Attributes:
        file: its name.
        valid: what it may hold.
        read: reads it, given the folder that it lies in.
        beside: what else lies there.
        told_as: the name that a refusal has to have; that of the file by default.
    """

    file: str
    valid: tuple[bytes, ...]
    read: Callable[[Path], object]
    beside: Mapping[str, bytes] = field(default_factory=dict)
    told_as: str = ""

    def refusal(self, content: bytes, folder: Path) -> ValueError | None:
        """Read a content of the file; what the reader has against it, or None."""
        for name, other in self.beside.items():
            (folder / name).write_bytes(other)
        (folder / self.file).write_bytes(content)
        before = sorted(folder.parent.rglob("*"))
        try:
            self.read(folder)
        except ValueError as error:
            return error
        finally:
            assert sorted(folder.parent.rglob("*")) == before, "a reader wrote something"
        return None

    @property
    def name(self) -> str:
        """That a refusal has to have."""
        return self.told_as or self.file


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _spec() -> bytes:
    provenance = Provenance(experiment="toy", seed=0, evounet="0.1.0", weights=())
    return build_spec(_INVENTORY, _FEWER, (), None, provenance).model_dump_json().encode()


def _experiments() -> tuple[bytes, ...]:
    """Presets as they were written, and with every value."""
    whole = (load_experiment(each).to_toml().encode() for each in _PRESETS)
    return (*(each.read_bytes() for each in _PRESETS), *whole)


def _state() -> bytes:
    """Of a search of the shapes world after a decision."""
    blocks = list(_FULL)[:3]
    candidates = tuple(
        Candidate(
            Action.parse(f"-{each}", _FULL),
            0.9,
            -0.01,
            0.001,
            -0.5,
            32,
            0,
            SecondOpinion(0.1, 0.2),
        )
        for each in blocks
    )
    decision = Decision(
        round=1,
        phase="remove",
        weights="0" * 12,
        before=_FULL,
        clip_before=0.91,
        latency_before_ms=30.0,
        candidates=candidates,
        executed=candidates[:1],
        after=_FULL.without(blocks[:1]),
        clip_after=0.9,
        latency_after_ms=29.5,
        remarks=("so",),
    )
    return _saved(SearchState(_FULL, [decision], 128, 3.5).save)


def _front() -> bytes:
    points = (FrontPoint(_FEWER, 10.0, 0.8), FrontPoint(_FULL, 30.0, 0.9))
    return _saved(Front(1, "0" * 12, 0.9, points).save)


def _saved(save_to: Callable[[Path], None]) -> bytes:
    with TemporaryDirectory() as folder:
        save_to(Path(folder) / "file")
        return (Path(folder) / "file").read_bytes()


def _load_and_tell(folder: Path) -> None:
    for decision in SearchState.load(folder / "state.json", _FULL).decisions:
        assert list(decision.explain())


_RUN = {
    "state.json": _state(),
    "experiment.toml": load_experiment(Path("demo")).to_toml().encode(),
    "result.json": _json({"clip_before": 0.9, "clip_after": 0.8}),
    "decisions.jsonl": _json(json.loads(_state())["decisions"][0]) + b"\n",
}


def _shard() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in (("1.png", _PICTURE), ("1.json", _json({"caption": "a cat"}))):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def _decode_all(source: Source) -> None:
    for read in source.in_order():
        decode(read())


def _cache() -> bytes:
    made = MadeFrom(
        pipeline="p",
        encoder="e",
        source="s",
        source_digest="d",
        pictures=2,
        latents=(4, 2, 2),
        text=(3, 5),
        precision="fp16",
    )
    shards = (Shard(file="shard-00000.safetensors", pictures=2, captions=1),)
    return CacheIndex(made_from=made, shards=shards).model_dump_json().encode()


def _pairs() -> bytes:
    origin = Origin(
        pipeline="p",
        decoder="d",
        scaling_factor=0.2,
        drawn="w",
        latents=(4, 2, 2),
        pictures=(3, 16, 16),
        count=2,
        shard_size=1,
    )
    return PairsIndex(origin=origin, shards=("pairs-00000.safetensors",)).model_dump_json().encode()


def _picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, "PNG")
    return file.getvalue()


_PICTURE = _picture()


def _of_a_run(file: str) -> Target:
    return Target(file, (_RUN[file],), read_run, _RUN, told_as="run")


def _of_prompts(file: str, content: bytes) -> Target:
    return Target(file, (content,), lambda folder: read_prompts(folder / file))


TARGETS: dict[str, Target] = {
    "spec": Target("spec.json", (_spec(),), lambda folder: read_spec(folder / "spec.json")),
    "architecture": Target(
        "spec.json", (_spec(),), lambda folder: choose_unet(str(folder / "spec.json"))
    ),
    "experiment": Target(
        "experiment.toml",
        _experiments(),
        lambda folder: load_experiment(folder / "experiment.toml"),
    ),
    **{
        f"table_{suffix}": Target(
            f"{_TABLE.stem}.{suffix}",
            (_TABLE.with_suffix(f".{suffix}").read_bytes(),),
            lambda folder: read_table(folder / f"{_TABLE.stem}.toml"),
            {f"{_TABLE.stem}.{each}": _TABLE.with_suffix(f".{each}").read_bytes() for each in both},
            told_as=_TABLE.stem,
        )
        for both in (("csv", "toml"),)
        for suffix in both
    },
    "state": Target("state.json", (_RUN["state.json"],), _load_and_tell),
    "autoencoder": Target(
        "config.json",
        ((_SHAPES_VAE / "config.json").read_bytes(),),
        lambda folder: choose_decoders(str(folder), (0.5,), tiny=((8, None),)),
    ),
    "front": Target(
        "front.json", (_front(),), lambda folder: Front.load(folder / "front.json", _FULL)
    ),
    "whole_run": Target(
        WholeFolder(Path()).records.name,
        (
            _json(
                {
                    "search": {"identity": "0" * 12, "done": True},
                    "steps": {"identity": "", "done": False},
                }
            ),
        ),
        lambda folder: WholeFolder(folder).record("search"),
    ),
    "samples": Target(
        "samples.json",
        (_json([{"title": "base", "captions": ["a", "b"], "clip_scores": [0.1, 0.2]}]),),
        load_samples,
        {f"base-0{number}.png": _PICTURE for number in range(2)},
    ),
    "faults": Target(
        "faults.jsonl",
        (_json(PoolEvent.now("worker", "node 1", "gone").to_json()),),
        lambda folder: load_faults(folder / "faults.jsonl"),
    ),
    **{
        f"prompts_{suffix}": _of_prompts(f"prompts.{suffix}", content)
        for suffix, content in (
            ("json", _json({"annotations": [{"image_id": 1, "id": 2, "caption": "a cat"}]})),
            ("tsv", b"Prompt\tCategory\na cat\tanimals\n"),
            ("csv", b"prompts\na cat\na dog\n"),
            ("txt", b"a cat\na dog\n"),
        )
    },
    "weights": Target(
        "weights.safetensors",
        (save({"a": torch.ones(3), "b": torch.zeros(2, 2)}, {"seed": "0"}),),
        lambda folder: load_tensors(folder / "weights.safetensors"),
    ),
    "metadata_jsonl": Target(
        "metadata.jsonl",
        (_json({"file_name": "a.png", "text": "a cat"}),),
        lambda folder: _decode_all(PictureFolder(folder)),
        {"a.png": _PICTURE},
    ),
    "metadata_csv": Target(
        "metadata.csv",
        (b"file_name,text\na.png,a cat\n",),
        lambda folder: _decode_all(PictureFolder(folder)),
        {"a.png": _PICTURE},
    ),
    "picture": Target(
        "a.png",
        (_PICTURE,),
        lambda folder: _decode_all(PictureFolder(folder)),
        {"a.txt": b"a cat"},
    ),
    "shard": Target("0.tar", (_shard(),), lambda folder: _decode_all(TarShards(str(folder)))),
    "cache": Target(CACHE, (_cache(),), load_cache),
    "pairs": Target(PAIRS, (_pairs(),), load_pairs),
    **{f"run_{file}": _of_a_run(file) for file in ("decisions.jsonl", "result.json")},
    "run_experiment": _of_a_run("experiment.toml"),
}
