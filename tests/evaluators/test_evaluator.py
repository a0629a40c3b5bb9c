"""Evaluators: an architecture's scores, a pipeline that cannot be loaded, the weights' digest."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_models import PROMPTS, SAMPLING

from evaluators.evaluator import (
    Evaluator,
    EvaluatorSpec,
    companions_digest,
    weights_digest,
)
from evaluators.generation import encode_prompts, generate
from evaluators.pipelines import load_pipeline
from evaluators.scorers import CaptionAccuracy
from supernet.architecture import Architecture, BlockId
from supernet.growth import grow

REMOVED = BlockId.parse("cross_attention mid/0")


@pytest.fixture
def evaluator(spec: EvaluatorSpec) -> Evaluator:
    return Evaluator(spec)


@pytest.fixture
def copied(pipeline_folder: str, tmp_path: Path) -> Path:
    """A copy of the pipeline's folder, to be damaged."""
    return Path(shutil.copytree(pipeline_folder, tmp_path / "pipeline"))


def reduced(evaluator: Evaluator) -> Architecture:
    return evaluator.supernet.full().without([REMOVED])


def refusal(folder: Path) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        load_pipeline(str(folder))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_scores_are_those_of_its_parts(evaluator: Evaluator, spec: EvaluatorSpec) -> None:
    pipeline, scorer = load_pipeline(spec.pipeline), spec.scorer.open(PROMPTS)
    images = generate(pipeline, PROMPTS, encode_prompts(pipeline, PROMPTS), SAMPLING)
    scores = scorer.score(images, range(len(PROMPTS)))
    full = evaluator.supernet.full()
    assert torch.equal(evaluator.images(full), images)
    assert evaluator.scores(full).first == tuple(scores.tolist())


def test_a_second_judge_sees_the_same_pictures(evaluator: Evaluator, spec: EvaluatorSpec) -> None:
    accuracy = CaptionAccuracy(name=spec.scorer.name)
    both, full = Evaluator(replace(spec, second=accuracy)), evaluator.supernet.full()
    scores, rows = both.scores(full, range(1, 4)), range(1, 4)
    images = evaluator.images(full, rows)
    assert scores.first == evaluator.scores(full, rows).first
    assert scores.second == tuple(accuracy.open(PROMPTS).score(images, rows).tolist())
    assert evaluator.scores(full).second == ()


def test_judges_of_one_model_load_it_once(spec: EvaluatorSpec) -> None:
    accuracy = CaptionAccuracy(name=spec.scorer.name)
    first, second = replace(spec, second=accuracy).open_scorers()
    assert first.encoder is second.encoder


def test_scores_belong_to_the_architecture(evaluator: Evaluator) -> None:
    full = evaluator.supernet.full()
    before = evaluator.scores(full).first
    assert evaluator.scores(reduced(evaluator)).first != before
    assert evaluator.scores(full).first == before  # nothing stays behind


def test_a_shared_first_step_changes_no_bit(
    evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = evaluator.supernet.full()
    removals = [full.without([block]) for block in list(full)[::3]]
    rows = [range(2, 4), range(4)]
    shared = [evaluator.images(each, part) for part in rows for each in removals]
    monkeypatch.setattr("evaluators.evaluator._FEW_STEPS", 0)
    whole = [evaluator.images(each, part) for part in rows for each in removals]
    assert all(torch.equal(*pair) for pair in zip(shared, whole, strict=True))


def test_the_first_of_few_steps_is_shared(evaluator: Evaluator) -> None:
    full = evaluator.supernet.full()
    calls: list[object] = []
    evaluator.supernet.unet.down_blocks[0].resnets[0].register_forward_hook(
        lambda *call: calls.append(call)
    )
    for architecture in (full, reduced(evaluator)):
        evaluator.images(architecture)
    assert len(calls) == 2 * SAMPLING.num_inference_steps - 1


def test_scores_belong_to_the_weights(evaluator: Evaluator) -> None:
    full = evaluator.supernet.full()
    weights = {n: v.clone() for n, v in evaluator.supernet.unet.state_dict().items()}
    before = evaluator.scores(full).first
    changed = {**weights, "conv_out.weight": 2 * weights["conv_out.weight"]}
    evaluator.load_weights(changed)
    assert evaluator.scores(full).first != before
    evaluator.load_weights(weights)
    assert evaluator.scores(full).first == before


def test_texts_and_noise_are_made_once_for_all_architectures(
    evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = evaluator.supernet.full()
    before = evaluator.scores(full).first

    def made_anew(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(type(PROMPTS), "noise", made_anew)
    evaluator.pipeline.text_encoder.forward = made_anew
    evaluator.scorers[0].encoder.model.encode_text = made_anew
    assert evaluator.scores(full).first == before
    assert evaluator.scores(reduced(evaluator)).first != before


def test_weights_are_rounded_as_they_come(spec: EvaluatorSpec) -> None:
    """A copy that comes with them, too."""
    rounded = Evaluator(replace(spec, sampling=SAMPLING.model_copy(update={"precision": "bf16"})))
    exact = Evaluator(spec)
    added = exact.supernet.full().with_multiplicities({REMOVED: 2})
    grow(exact.supernet.unet, added)
    weights = exact.supernet.unet.state_dict()
    rounded.load_weights(weights)
    for name, value in rounded.supernet.unet.state_dict().items():
        assert torch.equal(value, weights[name].bfloat16())
    assert rounded.scores(added).first == pytest.approx(exact.scores(added).first, abs=0.02)


def test_weights_of_another_unet_are_refused(evaluator: Evaluator) -> None:
    weights = evaluator.supernet.unet.state_dict()
    del weights["conv_out.weight"]
    with pytest.raises(RuntimeError, match=r"conv_out\.weight"):
        evaluator.load_weights(weights)


def test_more_prompts_leave_the_scores_of_the_first_ones(spec: EvaluatorSpec) -> None:
    few = replace(PROMPTS, prompts=PROMPTS.prompts[:2], distractors=PROMPTS.distractors[:2])
    some, all_ = Evaluator(replace(spec, prompts=few)), Evaluator(spec)
    full = all_.supernet.full()
    assert some.scores(full).first == pytest.approx(all_.scores(full).first[:2], abs=1e-5)


def test_a_pipeline_is_loaded_in_fp32_whatever_it_was_saved_in(
    pipeline_folder: str, tmp_path: Path
) -> None:
    load_pipeline(pipeline_folder).to(torch.float16).save_pretrained(tmp_path)
    pipeline = load_pipeline(str(tmp_path))
    for module in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        assert module.dtype == torch.float32
        assert not module.training
        assert not any(weight.requires_grad for weight in module.parameters())


def test_loading_a_pipeline_warns_of_nothing(
    pipeline_folder: str, recwarn: pytest.WarningsRecorder
) -> None:
    load_pipeline(pipeline_folder)
    assert [str(warning.message) for warning in recwarn] == []


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    missing = tmp_path / "nothing"
    assert refusal(missing) == f"{missing}: no such folder; give a Stable Diffusion pipeline's"


def test_a_folder_without_a_pipeline(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith(f"{tmp_path}: no usable Stable Diffusion folder (")


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
@pytest.mark.parametrize("kept", [0.5, 0.001], ids=["half", "header"])
def test_truncated_weights(copied: Path, part: str, kept: float) -> None:
    (weights,) = (copied / part).glob("*.safetensors")
    content = weights.read_bytes()
    weights.write_bytes(content[: int(kept * len(content))])
    assert refusal(copied).startswith(f"{copied}: no usable Stable Diffusion folder (")


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_absent_weights(copied: Path, part: str) -> None:
    (weights,) = (copied / part).glob("*.safetensors")
    weights.unlink()
    assert refusal(copied).startswith(f"{copied}: no usable Stable Diffusion folder (")


def test_weights_that_do_not_fit_the_configuration(copied: Path) -> None:
    path = copied / "unet" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"cross_attention_dim": 24}))
    assert refusal(copied).startswith(f"{copied}: no usable Stable Diffusion folder (")


def test_a_pipeline_of_another_kind(copied: Path) -> None:
    path = copied / "model_index.json"
    index = json.loads(path.read_text())
    path.write_text(json.dumps(index | {"_class_name": "StableDiffusion3Pipeline"}))
    message = refusal(copied)
    assert message.startswith(f"{copied}: field '_class_name' of model_index.json is 'StableDiff")
    assert "only StableDiffusionPipeline and StableDiffusionXLPipeline are supported" in message


def test_a_pipeline_without_a_text_encoder(sdxl_folder: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(sdxl_folder, tmp_path / "pipeline"))
    path = folder / "model_index.json"
    index = json.loads(path.read_text())
    path.write_text(json.dumps(index | {"text_encoder": [None, None], "tokenizer": [None, None]}))
    assert "this pipeline has no tokenizer and no text_encoder" in refusal(folder)


@pytest.mark.parametrize("content", ["[]", "{}", "{"])
def test_a_pipeline_with_a_damaged_index(copied: Path, content: str) -> None:
    (copied / "model_index.json").write_text(content)
    assert refusal(copied).startswith(f"{copied}: no usable Stable Diffusion folder (")


def test_the_digest_changes_with_any_weight_name_or_precision() -> None:
    weights = {"a": torch.zeros(2, 3), "b": torch.ones(4)}
    digest = weights_digest(weights)
    assert len(digest) == 12
    assert digest == weights_digest(dict(reversed(weights.items())))
    nudged = weights["a"].clone()
    nudged[1, 2] = 1e-30
    others = [
        {**weights, "a": nudged},
        {"a": weights["a"], "c": weights["b"]},
        {**weights, "b": weights["b"].bfloat16()},
        {"a": weights["a"]},
    ]
    assert len({digest, *map(weights_digest, others)}) == 1 + len(others)


def test_the_digest_sees_values_not_memory_layout() -> None:
    weight = torch.arange(6.0).view(2, 3)
    assert weights_digest({"a": weight.T}) == weights_digest({"a": weight.T.contiguous()})
    assert weights_digest({"a": weight.T}) != weights_digest({"a": weight})


def test_what_else_pictures_depend_on_has_a_digest(pipeline_folder: str, tmp_path: Path) -> None:
    """Not the folder, nor the UNet, whose weights have their own."""
    pipeline = load_pipeline(pipeline_folder)
    digest = companions_digest(pipeline)
    moved = load_pipeline(str(shutil.copytree(pipeline_folder, tmp_path / "elsewhere")))
    moved.unet.conv_in.weight.data += 1
    assert companions_digest(moved) == digest
    moved.vae.decoder.conv_in.weight.data += 1
    assert companions_digest(moved) != digest
    pipeline.scheduler.register_to_config(beta_end=0.5)
    assert companions_digest(pipeline) != digest
