"""What is exported: a found UNet, the pipeline that it draws in, and its spec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evaluators.evaluator import weights_digest
from evaluators.pipelines import Pipeline
from experiments.export.destination import ExportError
from experiments.found import found_unet
from experiments.front import point_spec
from experiments.run_folder import RunFolder, RunFolderError
from experiments.search_parts import Parts, prepare
from experiments.steps.sources import Source
from search.front import Front, FrontPoint
from supernet.checkpoint import load_tensors
from supernet.spec import Spec, read_spec
from supernet.standalone_unet import StandaloneUNet


@dataclass(frozen=True)
class ExportSource:
    """A found UNet with all that belongs to it, loaded and checked.

    Attributes:
        name: of the experiment that found it.
        pipeline: whole, in fp32, frozen and in evaluation mode; its UNet is the found one.
        spec: of that UNet.
        samples: folder of pictures that it drew, see
            :func:`experiments.report.sample_files.load_samples`; None where there are none.
    """

    name: str
    pipeline: Pipeline
    spec: Spec
    samples: Path | None

    @property
    def unet(self) -> StandaloneUNet:
        """The found UNet with its weights."""
        unet: StandaloneUNet = self.pipeline.unet
        return unet

    @property
    def latency_ms(self) -> Mapping[str, float]:
        """Of one pass of it, by the name of the table."""
        return {figure.table: figure.found_ms for figure in self.spec.latency}


def open_source(folder: Path, point: int | None = None) -> ExportSource:
    """Load what is to be exported.

    Args:
        folder: of a finished search.
        point: another architecture of its front than the one that was chosen, from 1.

    Raises:
        ValueError: in one line, if it is no such folder or has not ended, its front has no such
            point, files are damaged, or the weights are not those of the spec.
    """
    run = RunFolder(folder)
    if point is not None:
        return _open_point(run, point)
    run.check_finished()
    spec = read_spec(run.spec)
    pipeline = Source.named(str(folder)).open()
    if weights_digest(pipeline.unet.state_dict()) != spec.provenance.weights:
        raise ExportError(
            f"{run.unet}: these weights are not those of {run.spec} (field 'provenance.weights'); "
            "copy the run again, or search again"
        )
    return ExportSource(spec.provenance.experiment, pipeline, spec, run.samples)


def read_source_spec(folder: Path, point: int | None = None) -> Spec:
    """The spec alone, without loading any weights; see :func:`open_source`."""
    run = RunFolder(folder)
    if point is None:
        run.check_finished()
        return read_spec(run.spec)
    parts, front, chosen = _find_point(run, point)
    return point_spec(parts, front, chosen)


def _open_point(run: RunFolder, number: int) -> ExportSource:
    parts, front, point = _find_point(run, number)
    weights = load_tensors(run.checkpoints / f"round-{front.round}.safetensors")[0]
    unet = found_unet(parts, weights, point.architecture)
    parts.pipeline.unet = unet.eval().requires_grad_(False)
    spec = point_spec(parts, front, point)
    return ExportSource(spec.provenance.experiment, parts.pipeline, spec, None)


def _find_point(run: RunFolder, number: int) -> tuple[Parts, Front, FrontPoint]:
    run.check_finished()
    parts = prepare(run.load_experiment())
    front = Front.load(run.front, parts.full)
    if number > len(front.points):
        raise RunFolderError(f"{run.front}: has {len(front.points)} points, no point {number}")
    return parts, front, front.points[number - 1]
