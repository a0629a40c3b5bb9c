"""What leaves evounet: the found UNet as a diffusers folder, or its spec alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from experiments.drafts import publish
from experiments.found import found_unet
from experiments.front import point_spec
from experiments.models import pipeline_source
from experiments.run_folder import RunFolder, RunFolderError
from experiments.search_parts import prepare
from search.front import Front
from supernet.checkpoint import load_tensors
from supernet.spec import read_spec

HOW_TO_DRAW = """\
from diffusers import DiffusionPipeline
from supernet.standalone_unet import StandaloneUNet

unet = StandaloneUNet.from_pretrained("{unet}")
pipeline = DiffusionPipeline.from_pretrained("{pipeline}", unet=unet)
pipeline("...").images[0]"""


class ExportError(ValueError):
    """A place that an export cannot be written to."""


def export_unet(run: RunFolder, out: Path, overwrite: bool) -> str:
    """Write the found UNet as a diffusers folder, with its spec beside the weights.

    Returns:
        The lines of Python that draw with it in a stock pipeline, where evounet is installed.

    Raises:
        RunFolderError: if the run has not ended yet.
        ExportError: if ``out`` is there already.
    """
    check_finished(run)

    def write(draft: Path) -> None:
        shutil.copytree(run.unet, draft)
        shutil.copy(run.spec, draft / "spec.json")

    _replace(out, overwrite, write)
    pipeline = pipeline_source(run.load_experiment().model.pipeline)
    return HOW_TO_DRAW.format(unet=out, pipeline=pipeline)


def export_spec(run: RunFolder, out: Path, overwrite: bool) -> None:
    """Copy the run's spec.

    Raises:
        RunFolderError: if the run has not ended yet.
        ExportError: if ``out`` is there already.
        ArchitectureError: if the spec is damaged.
    """
    check_finished(run)
    read_spec(run.spec)
    _replace(out, overwrite, lambda draft: shutil.copy(run.spec, draft))


def export_point(run: RunFolder, number: int, out: Path, overwrite: bool, spec_only: bool) -> None:
    """Write one architecture of a run's front, with the weights that its score was taken with.

    Args:
        run: of a search with ``search.pareto``.
        number: of the point, from 1, fastest first.
        out: a folder, or a file if ``spec_only``.
        overwrite: whether ``out`` may be there already.
        spec_only: whether to write the spec alone.

    Raises:
        RunFolderError: if the run has not ended yet, or its front has no such point.
        StateError: if it has no front.
        ExportError: if ``out`` is there already.
    """
    check_finished(run)
    parts = prepare(run.load_experiment())
    front = Front.load(run.front, parts.full)
    if number > len(front.points):
        raise RunFolderError(f"{run.front}: has {len(front.points)} points, no point {number}")
    point = front.points[number - 1]
    spec = point_spec(parts, front, point).model_dump_json(indent=2) + "\n"
    if spec_only:
        _replace(out, overwrite, lambda draft: draft.write_text(spec, encoding="utf-8"))
        return
    weights = run.checkpoints / f"round-{front.round}.safetensors"
    unet = found_unet(parts, load_tensors(weights)[0], point.architecture)

    def write(draft: Path) -> None:
        unet.save_pretrained(draft)
        (draft / "spec.json").write_text(spec, encoding="utf-8")

    _replace(out, overwrite, write)


def check_finished(run: RunFolder) -> None:
    run.load_experiment()
    if not run.result.exists():
        raise RunFolderError(
            f"{run.path}: this search has not ended; continue it with 'evounet resume {run.path}'"
        )


def _replace(out: Path, overwrite: bool, write: Callable[[Path], object]) -> None:
    """Write under a name that nothing has yet, unless it may be taken."""
    if out.exists() and not overwrite:
        raise ExportError(f"{out}: already there; give another --out or --overwrite")
    publish(out, write)
