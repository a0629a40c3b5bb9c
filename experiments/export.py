"""What leaves evounet: the found UNet as a diffusers folder, or its spec alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from experiments.models import pipeline_source
from experiments.run_folder import RunFolder, RunFolderError
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


def check_finished(run: RunFolder) -> None:
    run.load_experiment()
    if not run.result.exists():
        raise RunFolderError(
            f"{run.path}: this search has not ended; continue it with 'evounet resume {run.path}'"
        )


def _replace(out: Path, overwrite: bool, write: Callable[[Path], object]) -> None:
    """Write beside ``out`` and rename, so that half an export never bears the name."""
    if out.exists() and not overwrite:
        raise ExportError(f"{out}: already there; give another --out or --overwrite")
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.draft")
    _remove(draft)
    try:
        write(draft)
        _remove(out)
        draft.rename(out)
    finally:
        _remove(draft)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
