"""What is known of decoders of several sizes, and which of them is the best."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError
from rich.table import Table

from distillation.decoder_architecture import DecoderArchitecture
from distillation.decoder_parts import parameters
from distillation.tiny_architecture import AnyDecoder
from evaluators.decoder_latency import table_latency_ms
from experiments.decoder.section import DecoderSearchSection
from experiments.experiment import ExperimentError
from latency_tables import LatencyTable
from search.state import write_atomically


@dataclass(frozen=True)
class Candidate:
    """One decoder that may be the one.

    Attributes:
        architecture: its sizes.
        latency_ms: of a pass by the experiment's first table.
        parameters: of the decoder.
    """

    architecture: AnyDecoder
    latency_ms: float
    parameters: int

    @classmethod
    def of(cls, architecture: AnyDecoder, table: LatencyTable) -> Candidate:
        latency_ms = table_latency_ms(architecture, table)
        return cls(architecture, latency_ms, parameters(architecture))


class Outcome(BaseModel):
    """How far a candidate's short training went, once it is at its end.

    Attributes:
        training: digest of settings, seed and pairs.
        steps: after which it was measured.
        psnr_db: on the held-out pairs, after each of these.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: str
    steps: tuple[int, ...]
    psnr_db: tuple[float, ...]

    def save(self, folder: Path, candidate: Candidate) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(_file(folder, candidate), self.model_dump_json(indent=1) + "\n")


def load_outcome(folder: Path, candidate: Candidate, training: str) -> Outcome | None:
    """What an earlier, interrupted search found out about a candidate, if anything.

    Raises:
        ExperimentError: if the file is damaged, or of another training.
    """
    path = _file(folder, candidate)
    if not path.exists():
        return None
    try:
        outcome = Outcome.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise ExperimentError(f"{path}: is damaged; delete it to train it again") from error
    if outcome.training != training:
        raise ExperimentError(f"{path}: is of another training; delete it to train it again")
    return outcome


def within_limits(
    architectures: Iterable[AnyDecoder],
    teacher: DecoderArchitecture,
    table: LatencyTable,
    section: DecoderSearchSection,
) -> list[Candidate]:
    """Those that are fast and small enough, in their order.

    Raises:
        ExperimentError: if there are none.
    """
    full = Candidate.of(teacher, table)
    candidates = [
        candidate
        for candidate in (Candidate.of(each, table) for each in architectures)
        if candidate.latency_ms <= section.max_latency * full.latency_ms
        and candidate.parameters <= section.max_parameters * full.parameters
    ]
    if not candidates:
        raise ExperimentError(
            f"decoder.search: no candidate keeps to max_latency = {section.max_latency:g} and "
            f"max_parameters = {section.max_parameters:g}; raise these or add smaller ones"
        )
    return candidates


def on_the_front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Which points of (latency, PSNR) no other one beats in both."""
    return [
        not any((other[0] <= own[0] and other[1] >= own[1]) and other != own for other in points)
        for own in points
    ]


def outcome_table(candidates: Sequence[Candidate], outcomes: Sequence[Outcome]) -> Table:
    """All candidates for people; the front is that of those whose training went to its end."""
    table = Table("decoder", "ms by the table", "parameters", "steps", "PSNR in dB", "front")
    last = max(outcome.steps[-1] for outcome in outcomes)
    ended = [outcome.steps[-1] == last for outcome in outcomes]
    points = [
        (candidate.latency_ms, outcome.psnr_db[-1] if whole else float("-inf"))
        for candidate, outcome, whole in zip(candidates, outcomes, ended, strict=True)
    ]
    best = on_the_front(points)
    for candidate, outcome, whole, front in zip(candidates, outcomes, ended, best, strict=True):
        table.add_row(
            str(candidate.architecture),
            f"{candidate.latency_ms:.2f}",
            f"{candidate.parameters:,}",
            str(outcome.steps[-1]),
            f"{outcome.psnr_db[-1]:.2f}",
            "yes" if whole and front else "",
        )
    return table


def best_of(candidates: Sequence[Candidate], outcomes: Sequence[Outcome]) -> Candidate:
    """Of those that were trained longest, the one whose pictures are most like the teacher's."""
    ranked = [(outcome.steps[-1], outcome.psnr_db[-1]) for outcome in outcomes]
    return candidates[ranked.index(max(ranked))]


def _file(folder: Path, candidate: Candidate) -> Path:
    return folder / f"{candidate.architecture.id}.json"
