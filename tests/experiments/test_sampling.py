"""What an experiment leaves open of its sampling is settled before a run begins, and stays so."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from evaluators import generation
from evaluators.generation import SamplingChoice, SamplingSettings
from evaluators.sampling_probe import Trial
from experiments import sampling
from experiments.experiment import Experiment, ExperimentError, load_experiment
from experiments.sampling import sampling_of, settle_sampling

OPEN = (
    "evaluation.prompts.count=2",
    "evaluation.sampling.batch_size=auto",
    "evaluation.sampling.precision=fp32",
    "comparison.sampling.precision=fp32",
)


@pytest.fixture
def experiment() -> Experiment:
    return load_experiment(Path("demo"), OPEN)


def test_nothing_open_is_left_as_it_is_without_a_worker() -> None:
    closed = (f"{name}.sampling.precision=fp32" for name in ("evaluation", "comparison"))
    settled = load_experiment(Path("demo"), tuple(closed))
    assert settle_sampling(settled, Console(quiet=True)) == settled


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_precision_of_this_machine_needs_no_worker(
    monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    monkeypatch.setattr(generation, "settled_precision", lambda given, device: precision)
    settled = settle_sampling(load_experiment(Path("demo")), Console(quiet=True))
    assert settled.evaluation.sampling.precision == precision
    assert settled.comparison.sampling.precision == precision


def test_the_precision_of_other_machines_is_asked_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[SamplingChoice] = []

    def invented(
        experiment: Experiment, choice: SamplingChoice, prompts: int, console: Console
    ) -> SamplingSettings:
        asked.append(choice)
        return choice.start()

    monkeypatch.setattr(sampling, "_probe_on_worker", invented)
    far = load_experiment(Path("demo"), ("workers.address=10.0.0.1:6379",))
    settle_sampling(far, Console(quiet=True))
    assert asked == [far.evaluation.sampling, far.comparison.sampling]


def test_what_only_a_try_tells_has_to_be_given_where_nothing_is_tried() -> None:
    choice = SamplingChoice(precision="auto", batch_size="auto", memory_format="auto")
    with pytest.raises(ExperimentError) as caught:
        sampling_of(choice, "comparison.sampling", "cpu")
    assert str(caught.value) == (
        "comparison.sampling: batch_size, memory_format is 'auto', but only evaluators of a search "
        "try what is fastest; give a value"
    )
    assert sampling_of(SamplingChoice(precision="bf16"), "", "cpu").precision == "bf16"


def test_only_what_is_open_is_settled_and_stands_in_the_file(
    monkeypatch: pytest.MonkeyPatch, experiment: Experiment, tmp_path: Path
) -> None:
    asked: list[tuple[SamplingChoice, int]] = []

    def invented(
        experiment: Experiment, choice: SamplingChoice, prompts: int, console: Console
    ) -> SamplingSettings:
        asked.append((choice, prompts))
        return choice.start().model_copy(update={"batch_size": 16})

    monkeypatch.setattr(sampling, "_probe_on_worker", invented)
    settled = settle_sampling(experiment, Console(quiet=True))
    assert asked == [(experiment.evaluation.sampling, 2)]
    file = tmp_path / "experiment.toml"
    file.write_text(settled.to_toml())
    read = load_experiment(file)
    assert read.evaluation.sampling == SamplingChoice(
        num_inference_steps=8, guidance_scale=4.0, batch_size=16
    )
    assert read.comparison == experiment.comparison
    assert read.evaluation.sampling.left_open == ()


@pytest.mark.slow
def test_a_worker_tries_and_its_trials_are_shown(experiment: Experiment) -> None:
    shown = io.StringIO()
    settled = settle_sampling(experiment, Console(file=shown, width=200))
    assert settled.evaluation.sampling.batch_size == 2  # no more than the prompts
    lines = shown.getvalue().splitlines()
    assert lines[0] == "evaluation: trying what is fastest for batch_size ..."
    assert lines[1].startswith(f"  {Trial(settled.evaluation.sampling, 1.0)}".removesuffix("1/s"))
    assert lines[1].endswith("/s (chosen)")
    assert len(lines) == 2
