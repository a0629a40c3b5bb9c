"""What is exported: a found UNet, the pipeline that it draws in, and its spec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from diffusers import UNet2DConditionModel

from evaluators.evaluator import weights_digest
from evaluators.latency import TableLatency
from evaluators.pipelines import Pipeline, load_pipeline
from experiments.analysis import Coverage
from experiments.export.destination import ExportError
from experiments.found import found_unet, table_figures, weights_file, weights_files
from experiments.front import front_weights, point_spec
from experiments.run_folder import RunFolder, RunFolderError
from experiments.search_parts import Parts, prepare
from experiments.steps.sources import Source
from experiments.unets import choose_unet
from latency_tables import LatencyTable, known_tables
from search.front import Front, FrontPoint
from supernet.checkpoint import load_tensors
from supernet.inventory import unet_config
from supernet.materialize import architecture_of, empty_unet
from supernet.spec import Provenance, Spec, build_spec, read_spec
from supernet.stock_unet import as_stock


@dataclass(frozen=True)
class ExportSource:
    """A found UNet with all that belongs to it, loaded and checked.

    Attributes:
        name: of the experiment that found it, or of its folder.
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
    def unet(self) -> UNet2DConditionModel:
        """The found UNet with its weights: a standalone or a stock one."""
        return self.pipeline.unet

    @property
    def latency_ms(self) -> Mapping[str, float]:
        """Of one pass of it, by the name of the table."""
        return {figure.table: figure.found_ms for figure in self.spec.latency}


def open_source(folder: Path, point: int | None = None) -> ExportSource:
    """Load what is to be exported.

    Args:
        folder: of a finished search, or of a pipeline: that of a stage of ``evounet distill
            steps``, or one that was exported.
        point: another architecture of a search's front than the one that was chosen, from 1.

    Raises:
        ValueError: in one line, if it is no such folder or has not ended, its front has no such
            point, files are damaged, or the weights are not those of the spec.
    """
    run = RunFolder(folder)
    if point is not None:
        return _open_point(run, point)
    spec = read_source_spec(folder)
    if _is_pipeline(folder):
        pipeline, samples = load_pipeline(str(folder)), folder / "samples"
    else:
        pipeline, samples = Source.named(str(folder)).open(), run.samples
    _check_unet(spec, run.spec, pipeline.unet)
    name = spec.provenance.experiment or folder.resolve().name
    return ExportSource(name, pipeline, spec, samples if samples.exists() else None)


def read_source_spec(folder: Path, point: int | None = None) -> Spec:
    """The spec alone; of a pipeline without one, what can be said of it. See :func:`open_source`.

    The files of weights that it names are checked.
    """
    run = RunFolder(folder)
    if point is not None:
        return point_spec(*_find_point(run, point), run)
    if _is_pipeline(folder) and not run.spec.exists():
        return _spec_of_pipeline(folder)
    if not _is_pipeline(folder):
        run.check_finished()
        if not run.spec.exists():
            raise RunFolderError(
                f"{folder}: holds no UNet that a search found; name a search, or a pipeline such "
                "as a stage of the run"
            )
    spec = read_spec(run.spec)
    _check_files(spec, run.spec)
    return spec


def _is_pipeline(folder: Path) -> bool:
    return (folder / "model_index.json").exists()


def _spec_of_pipeline(folder: Path) -> Spec:
    """Of a UNet that no search vouches for: without a score, with the tables known here."""
    chosen = choose_unet(str(folder))
    tables = [t for t in known_tables().values() if isinstance(t, LatencyTable)]
    covering = [t for t in tables if not Coverage.of(chosen.inventory, t).missing]
    latencies = [TableLatency(chosen.inventory, table) for table in covering]
    return build_spec(
        chosen.inventory,
        chosen.architecture,
        table_figures(latencies, chosen.architecture),
        None,
        Provenance(
            experiment=None,
            seed=None,
            evounet=metadata.version("evounet"),
            weights=weights_files(folder / "unet", folder),
        ),
    )


def _check_files(spec: Spec, where: Path) -> None:
    """See that the weights beside a spec are those that it was written with.

    Raises:
        ExportError: naming the file that is not.
    """
    for each in spec.provenance.weights:
        path = where.parent / each.file
        if not path.is_file():
            raise ExportError(
                f"{path}: these weights of {where} are missing; copy the folder again"
            )
        sha256 = weights_file(path, where.parent).sha256
        if sha256 != each.sha256:
            raise _mismatch(path, f"their SHA-256 is {sha256}, not {each.sha256}", where)


def _check_unet(spec: Spec, where: Path, unet: UNet2DConditionModel) -> None:
    """See that a UNet is the one of a spec, as far as the spec's version says so.

    Raises:
        ExportError: if it is another.
    """
    described = spec.architecture()
    if architecture_of(unet) != described:
        stock = as_stock(empty_unet(described))
        if stock is None or unet_config(stock) != unet_config(unet):
            other = described.base != unet_config(unet)
            what = "base UNet" if other else "architecture"
            raise _mismatch(Path("unet"), f"they are of another {what}", where)
    tensors = spec.provenance.tensors
    if tensors is not None and weights_digest(unet.state_dict()) != tensors:
        raise _mismatch(Path("unet"), f"their digest is not {tensors}", where)


def _mismatch(weights: Path, why: str, spec: Path) -> ExportError:
    return ExportError(
        f"{weights}: these weights are not those of {spec}: {why}; copy both from where they "
        "were found"
    )


def _open_point(run: RunFolder, number: int) -> ExportSource:
    parts, front, point = _find_point(run, number)
    weights = load_tensors(front_weights(run, front))[0]
    unet = found_unet(parts, weights, point.architecture)
    parts.pipeline.register_modules(unet=unet.eval().requires_grad_(False))
    spec = point_spec(parts, front, point, run)
    return ExportSource(f"{parts.experiment.name}, point {number}", parts.pipeline, spec, None)


def _find_point(run: RunFolder, number: int) -> tuple[Parts, Front, FrontPoint]:
    run.check_finished()
    parts = prepare(run.load_experiment())
    front = Front.load(run.front, parts.full)
    if number > len(front.points):
        raise RunFolderError(f"{run.front}: has {len(front.points)} points, no point {number}")
    return parts, front, front.points[number - 1]
