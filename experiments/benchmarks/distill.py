"""Does a UNet of 8 steps, made by the paper's chain, draw as its teacher does in 50?

The efficient UNet is what the demo's search finds. All are judged on held-out captions, from the
same noise.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import torch
from plotly.colors import qualitative
from rich.console import Console
from torch import Tensor

from evaluators.picture_sets import set_distance
from experiments.benchmarks.benchmark import Figure, Goal
from experiments.benchmarks.distill_steps import step_figures
from experiments.benchmarks.searches import QUICK_SEARCH, is_begun, search_in
from experiments.comparison import Pictures
from experiments.experiment import Experiment, load_experiment
from experiments.models import SHAPES
from experiments.report.look import canvas
from experiments.run_folder import RunFolder
from experiments.run_log import RunLog
from experiments.steps.chain import Chain
from experiments.steps.folder import StepsFolder
from experiments.steps.measures import Drawing
from experiments.steps.parts import StepsParts, prepare
from experiments.steps.run import compare

_SEED = 13  # of scenes and noise; no preset uses it
_SCALE = 4.0  # guidance that single figures are taken at
_MIXED = 0.9  # share of CFG-aware steps; the paper's is 0.1
_GUIDED = (1.5, 8.0)  # guidance of those; the paper's goes to 14, which no picture here bears
_LONGER, _LONGER_CURVE = "student-longer", "longer_8"  # the student of that share, trained on
_RESAMPLED = 200


@dataclass(frozen=True)
class _Size:
    """How much is done.

    Attributes:
        drawn: held-out captions.
        scales: guidance of the curves.
        shares: of CFG-aware steps in the last stage, a student each.
        progressive: whether 128 -> 64 -> 32 -> 16 -> 8 is tried too.
        pictures: of the training data.
        batch_size: of all stages.
        search: changes to the demo's search.
        distilled: training steps of each stage to 16 steps; twice as many to 8.
        longer: further ones of the student that is set against the teacher.
        timed: training steps that are timed, vanilla and CFG-aware ones each.
        timed_batch: pictures of such a step.
    """

    drawn: int
    scales: tuple[float, ...]
    shares: tuple[float, ...]
    progressive: bool
    pictures: int
    batch_size: int
    search: tuple[str, ...]
    distilled: int
    longer: int
    timed: int
    timed_batch: int


_QUICK = _Size(
    drawn=8,
    scales=(_SCALE,),
    shares=(0.0, _MIXED, 1.0),
    progressive=False,
    pictures=64,
    batch_size=8,
    search=QUICK_SEARCH,
    distilled=1,
    longer=1,
    timed=2,
    timed_batch=16,
)
_WHOLE = _Size(
    drawn=128,
    scales=(1.5, 2.5, _SCALE, 7.5),
    shares=(0.0, 0.1, 0.3, 0.5, _MIXED, 1.0),
    progressive=True,
    pictures=4096,
    batch_size=32,
    search=(),
    distilled=200,
    longer=800,
    timed=12,
    timed_batch=32,
)


def run(quick: bool, console: Console) -> list[Figure]:
    """Do the chain, draw, and time single training steps; nothing is kept."""
    with tempfile.TemporaryDirectory() as name:
        return run_in(Path(name), quick, console)


def run_in(folder: Path, quick: bool, console: Console) -> list[Figure]:
    """The same in a folder, where stages and pictures that are done are not done again."""
    size = _QUICK if quick else _WHOLE
    efficient = str(folder / "search")
    _search(RunFolder(folder / "search"), size, console)
    parts = prepare(_experiment(size, efficient))
    run_folder = StepsFolder(folder / "run")
    run_folder.begin(parts.experiment, overwrite=False)
    chain = Chain(parts, run_folder, RunLog(console, run_folder.log))
    with run_folder.locked():
        for stage in parts.section.stages:
            chain.do(stage)
        drawings = _drawings(size, efficient)
        results = compare(chain, list(drawings.values())).drawn
    pictures = dict(zip(drawings, (each.pictures for each in results), strict=True))
    return [
        *_ratios(pictures, size),
        *_claims(pictures, parts, size),
        *_curves(pictures, size),
        *step_figures(size.timed, size.timed_batch, console),
    ]


def _search(folder: RunFolder, size: _Size, console: Console) -> None:
    """Have the efficient UNet there."""
    experiment = load_experiment(Path("demo"), size.search)
    if not (is_begun(folder, experiment) and folder.result.exists()):
        search_in(folder, experiment, console)


def _experiment(size: _Size, efficient: str) -> Experiment:
    common = {
        "batch_size": size.batch_size,
        "adam_beta2": 0.95,
        "warmup_steps": 20,
        "ema_decay": 0.98,
    }

    def stage(
        name: str, teacher: str, student: str, to: int, steps: int, p: float = _MIXED
    ) -> dict[str, Any]:
        training = {
            "student_steps": to,
            "steps": steps,
            "guided_share": p,
            "guidance_scale": _GUIDED,
            "learning_rate": 6e-4,
        }
        return {
            "name": name,
            "kind": "distillation",
            "teacher": teacher,
            "student": student,
            "teacher_steps": 2 * to,
            "training": {**common, **training},
        }

    stages: list[dict[str, Any]] = [
        stage("full-16", SHAPES, SHAPES, 16, size.distilled),
        stage("efficient-16", SHAPES, efficient, 16, size.distilled),
        *(
            stage(_student(p), "full-16", "efficient-16", 8, 2 * size.distilled, p)
            for p in size.shares
        ),
        stage(_LONGER, "full-16", _student(_MIXED), 8, size.longer),
    ]
    if size.progressive:  # with as many training steps in all
        before, each = efficient, 3 * size.distilled // 4
        for to in (64, 32, 16, 8):
            stages.append(stage(f"progressive-{to}", before, before, to, each))
            before = f"progressive-{to}"
    values = {
        "name": "distill",
        "seed": _SEED,
        "latency": {"tables": ["epyc-1core-fp32"], "target_ratio": 1.0},
        "evaluation": {"scorer": {"name": SHAPES}},
        "comparison": {
            "prompts": {"source": SHAPES, "count": size.drawn, "seed": _SEED},
            "sampling": {"precision": "auto", "batch_size": 32},
        },
        "steps": {
            "pictures": size.pictures,
            "caption_dropout": 0.25,
            "stages": stages,
            "keep_targets": True,  # of the teacher that all shares have
        },
    }
    return Experiment.model_validate(values)


def _student(share: float) -> str:
    return f"student-p{share:g}"


def _drawings(size: _Size, efficient: str) -> dict[tuple[str, float], Drawing]:
    """By the name of a curve and its guidance."""
    models = {f"teacher_{steps}": (SHAPES, steps) for steps in (50, 16, 8)}
    models["undistilled_8"] = (efficient, 8)
    models |= {_curve(p): (_student(p), 8) for p in size.shares}
    models[_LONGER_CURVE] = (_LONGER, 8)
    if size.progressive:
        models["progressive_8"] = ("progressive-8", 8)
    return {
        (name, scale): Drawing(model, steps, scale)
        for name, (model, steps) in models.items()
        for scale in size.scales
    }


def _curve(share: float) -> str:
    names = {0.0: "vanilla_8", 1.0: "cfg_8"}
    return names.get(share, f"mixed_{100 * share:g}pct_8")


Drawn = Mapping[tuple[str, float], Pictures]


def _ratios(drawn: Drawn, size: _Size) -> Iterator[Figure]:
    """The 8-step student, trained longer, and the undistilled UNet against the teacher's 50."""
    what = f"{size.drawn} held-out captions, guidance {_SCALE:g}"
    student, undistilled = (drawn[name, _SCALE] for name in (_LONGER_CURVE, "undistilled_8"))
    teacher = drawn["teacher_50", _SCALE]
    yield _clip_ratio(
        "clip_ratio_8_to_50",
        student,
        teacher,
        f"CLIP of the efficient student's 8 steps over the whole teacher's 50; {what}",
        Goal(">=", 1),
    )
    assert student.distance is not None, "the shapes world has a reference"
    assert teacher.distance is not None, "the shapes world has a reference"
    yield Figure(
        "fid_ratio_8_to_50",
        student.distance.fid / teacher.distance.fid,
        f"likewise FID, by the judge's features; {what}",
        goal=Goal("<=", 1.05),
    )
    yield _clip_ratio(
        "undistilled_clip_ratio_8_to_50",
        undistilled,
        teacher,
        f"CLIP of 8 steps of the efficient UNet before distillation, likewise; {what}",
    )
    over = [
        _clip_ratio("", drawn[_LONGER_CURVE, scale], drawn["undistilled_8", scale], "").value
        for scale in size.scales
    ]
    yield Figure(
        "least_clip_over_undistilled",
        min(over),
        f"CLIP of the student's 8 steps over those of the UNet before distillation, at the worst "
        f"of guidance {', '.join(f'{scale:g}' for scale in size.scales)}; {size.drawn} captions",
        goal=Goal(">=", 1),
    )


def _clip_ratio(
    name: str, one: Pictures, other: Pictures, what: str, goal: Goal | None = None
) -> Figure:
    """Of mean scores; the interval is that of a ratio of paired means (delta method)."""
    own, base = (torch.tensor(each.scores.first, dtype=torch.float64) for each in (one, other))
    ratio = (own.mean() / base.mean()).item()
    error = ((own - ratio * base).std() / base.mean() / len(own) ** 0.5).item()
    bounds = (ratio - 1.96 * error, ratio + 1.96 * error)
    return Figure(name, ratio, f"{what}; spread: 95 % interval over captions", bounds, goal)


def _claims(drawn: Drawn, parts: StepsParts, size: _Size) -> Iterator[Figure]:
    """The paper's: CFG-aware distillation raises CLIP, vanilla helps FID."""
    vanilla, aware = drawn[_curve(0.0), _SCALE], drawn[_curve(1.0), _SCALE]
    what = f"students of 8 steps; {size.drawn} held-out captions, guidance {_SCALE:g}"
    yield _clip_ratio(
        "cfg_over_vanilla_clip",
        aware,
        vanilla,
        f"CLIP of CFG-aware over that of vanilla distillation, {what}",
        Goal(">=", 1),
    )
    assert parts.reference is not None, "the shapes world has a reference"
    features = parts.reference.features(parts.spec.scorer)
    height, width = vanilla.images.shape[2:]
    real = torch.cat([features(each) for each in parts.reference.batches(height, width)])
    own, other = features(vanilla.images), features(aware.images)
    ratio = set_distance(real, own).fid / set_distance(real, other).fid
    yield Figure(
        "vanilla_over_cfg_fid",
        ratio,
        f"FID of vanilla over that of CFG-aware distillation, {what}; spread: 95 % by the "
        "bootstrap's error over captions",
        _resampled(ratio, real, own, other),
        Goal("<=", 1),
    )


def _resampled(ratio: float, real: Tensor, own: Tensor, other: Tensor) -> tuple[float, float]:
    """An interval around a ratio of FIDs, as wide as resampled captions scatter its logarithm.

    Their quantiles would not do: a picture that is drawn twice adds to either FID, which brings
    the ratio nearer to 1.
    """
    generator = torch.Generator().manual_seed(_SEED)
    ratios = []
    for _ in range(_RESAMPLED):
        rows = torch.randint(len(own), (len(own),), generator=generator)
        ratios.append(set_distance(real, own[rows]).fid / set_distance(real, other[rows]).fid)
    error = torch.tensor(ratios).log().std().item()
    return ratio * math.exp(-1.96 * error), ratio * math.exp(1.96 * error)


def _curves(drawn: Drawn, size: _Size) -> Iterator[Figure]:
    """CLIP at one guidance scale; the points have it, and FID, at all of them."""
    for name in dict.fromkeys(name for name, _ in drawn):
        own = [drawn[name, scale] for scale in size.scales]
        yield Figure(
            f"clip_{name}",
            drawn[name, _SCALE].clip,
            f"mean CLIP score at guidance {_SCALE:g}; {size.drawn} held-out captions",
            points={
                "guidance_scale": size.scales,
                "clip": tuple(each.clip for each in own),
                "fid": tuple(each.distance.fid for each in own if each.distance is not None),
            },
        )


def picture(measured: Sequence[Figure]) -> go.Figure:
    """FID against CLIP along guidance scales, a curve for every model and its steps."""
    figure = canvas(480)
    figure.update_xaxes(title="CLIP score")
    figure.update_yaxes(title="FID", rangemode="tozero")
    colors = cycle(qualitative.Dark24)
    for each in measured:
        if each.points is not None:
            figure.add_scatter(
                line={"color": next(colors), "dash": "dot" if "teacher" in each.name else "solid"},
                x=each.points["clip"],
                y=each.points["fid"],
                text=[f"guidance {scale:g}" for scale in each.points["guidance_scale"]],
                name=each.name.removeprefix("clip_"),
                mode="lines+markers",
            )
    return figure
