"""A run for TensorBoard: scalars of its decisions and trainings, and its sample pictures."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.drafts import publish
from experiments.report.data import ReportData

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter


def check_writer() -> None:
    """Hear early that event files cannot be written.

    Raises:
        ValueError: if tensorboardX is not there, which Ray Tune brings along.
    """
    if find_spec("tensorboardX") is None:
        raise ValueError("--tensorboard needs tensorboardX: pip install tensorboardX")


def write_events(folder: Path, data: ReportData) -> None:
    """Write a folder of event files, in the place of one that is there.

    Steps are rounds (0 is the base), and of trainings their own steps.
    """
    from tensorboardX import SummaryWriter  # takes a moment

    def write(draft: Path) -> None:
        with SummaryWriter(str(draft)) as writer:
            _add_decisions(writer, data)
            _add_trainings(writer, data)
            _add_samples(writer, data)

    publish(folder, write)


def _add_decisions(writer: SummaryWriter, data: ReportData) -> None:
    ways = [(0, d.clip_before, d.latency_before_ms, d.before) for d in data.decisions[:1]]
    ways += [(d.round, d.clip_after, d.latency_after_ms, d.after) for d in data.decisions]
    for round_, clip, latency_ms, architecture in ways:
        writer.add_scalar("search/CLIP_score", clip, round_)
        writer.add_scalar("search/latency_ms", latency_ms, round_)
        writer.add_scalar("search/parameters", data.inventory.parameters(architecture), round_)


def _add_trainings(writer: SummaryWriter, data: ReportData) -> None:
    for point in data.curves:
        writer.add_scalar(f"loss/{point.training}", point.loss, point.step)
        writer.add_scalar(f"learning_rate/{point.training}", point.learning_rate, point.step)
        if point.pictures_per_s is not None:
            writer.add_scalar(f"pictures_per_s/{point.training}", point.pictures_per_s, point.step)


def _add_samples(writer: SummaryWriter, data: ReportData) -> None:
    for group, sets in (("rounds", data.round_samples), ("comparison", data.samples)):
        for step, samples in enumerate(sets):
            for i, image in enumerate(samples.images):
                tag = f"{group}/{i:02d} {samples.captions[i]}"
                writer.add_image(tag, image.numpy(), step)
