"""What goes into stages: pipelines, and UNets that searches found."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler
from safetensors import SafetensorError

from evaluators.evaluator import weights_digest
from evaluators.pipelines import Pipeline, load_pipeline
from experiments.experiment import ExperimentError
from experiments.models import pipeline_source
from experiments.run_folder import RunFolder
from experiments.trainer import noise_schedule
from supernet.architecture import Architecture
from supernet.materialize import architecture_of
from supernet.standalone_unet import StandaloneUNet

# What a student and its teacher must have in common, by their UNets' configurations.
_SAME = ("in_channels", "out_channels", "sample_size", "cross_attention_dim", "addition_embed_type")
_HARDLY_ANY_SIGNAL = 1e-4  # of a cumulative alpha; Stable Diffusion's least is 0.0047


@dataclass(frozen=True)
class Source:
    """Where a pipeline comes from.

    Attributes:
        pipeline: folder or Hugging Face id.
        unet: folder of the UNet that takes the place of the pipeline's own, if any.
    """

    pipeline: str
    unet: Path | None = None

    @classmethod
    def named(cls, name: str) -> Source:
        """The pipeline or search that a name means; it may not be there.

        Raises:
            ValueError: if it is a search that has not ended, or a run of another kind.
        """
        run = RunFolder(Path(name))
        if not run.experiment.exists():
            return cls(pipeline_source(name))
        run.check_finished()
        if not run.unet.exists():
            raise ExperimentError(
                f"{name}: holds no UNet that a search found; name a search, or a pipeline such as "
                "a stage of the run"
            )
        return cls(pipeline_source(run.load_experiment().model.pipeline), run.unet.absolute())

    def open(self) -> Pipeline:
        """In fp32, frozen and in evaluation mode.

        Raises:
            ValueError: if there is none, or it is damaged.
        """
        pipeline = load_pipeline(self.pipeline)
        if self.unet is not None:
            try:
                unet = StandaloneUNet.from_pretrained(self.unet)
            except (OSError, SafetensorError) as error:
                raise ExperimentError(
                    f"{self.unet}: no usable UNet ({' '.join(str(error).split())[:200]}); search "
                    "again, or name a pipeline"
                ) from error
            pipeline.unet = unet.float().eval().requires_grad_(False)
        return pipeline


@dataclass(frozen=True)
class Model:
    """What is known of a pipeline without its weights.

    Attributes:
        architecture: of its UNet.
        config: of its UNet.
        scheduler: the noise that its UNet was trained on, what it predicts, where steps begin.
        text: digest of its text encoders.
        tokens: of a prompt.
    """

    architecture: Architecture
    config: dict[str, Any]
    scheduler: DDIMScheduler
    text: str
    tokens: int

    @classmethod
    def of(cls, pipeline: Pipeline) -> Model:
        encoders = [getattr(pipeline, name, None) for name in ("text_encoder", "text_encoder_2")]
        digests = [weights_digest(each.state_dict()) for each in encoders if each is not None]
        return cls(
            architecture_of(pipeline.unet),
            {name: pipeline.unet.config.get(name) for name in _SAME},
            noise_schedule(pipeline),
            " ".join(digests),
            pipeline.tokenizer.model_max_length,
        )

    @property
    def predicts(self) -> str:
        """The UNet's ``prediction_type``."""
        return str(self.scheduler.config.prediction_type)

    @property
    def schedule(self) -> str:
        """The scheduler's settings."""
        values = {k: v for k, v in self.scheduler.config.items() if not k.startswith("_")}
        return json.dumps(values, sort_keys=True, default=str)


def check_teaching(where: str, student: Model, teacher: Model) -> None:
    """See that one can learn to do in one step what the other does in two.

    Raises:
        ExperimentError: naming ``where`` and the fix.
    """
    if student.predicts != "v_prediction":
        raise ExperimentError(
            f"{where}: the student has prediction_type {student.predicts!r}; put a stage of kind "
            "'v_prediction' before, and distill its outcome"
        )
    for name in _SAME:
        if student.config[name] != teacher.config[name]:
            raise ExperimentError(
                f"{where}: the teacher's UNet has {name} {teacher.config[name]}, the student's "
                f"{student.config[name]}; give two that draw from the same latents and prompts"
            )
    if student.text != teacher.text:
        raise ExperimentError(
            f"{where}: teacher and student have different text encoders; give two with the same"
        )
    own, others = (each.scheduler.alphas_cumprod for each in (student, teacher))
    if own.shape != others.shape or not torch.allclose(own, others, rtol=1e-4, atol=1e-7):
        raise ExperimentError(
            f"{where}: teacher and student have different noise schedules; let both go through a "
            "stage of kind 'v_prediction' with the same zero_terminal_snr"
        )
    if teacher.predicts == "epsilon" and others.min() < _HARDLY_ANY_SIGNAL:
        raise ExperimentError(
            f"{where}: the teacher predicts noise, which says nothing of the picture where a step "
            "begins in noise alone, as by this schedule; put a stage of kind 'v_prediction' before"
        )
