"""Pipelines of both kinds, an open_clip judge and prompts: small, with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import save_file
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    SiglipProcessor,
)

from evaluators.evaluator import EvaluatorSpec
from evaluators.generation import SamplingSettings
from evaluators.prompts import PromptSet
from evaluators.scorers import ClipModel, TransformersModel
from experiments.shapes.tokenizer import CONTEXT_LENGTH, build_tokenizer

JUDGED_SIZE = 16  # of pictures, both as they are drawn and as the judge wants them

PROMPTS = PromptSet(
    prompts=(
        "a small red circle on a white background",
        "a large blue star above a small green ring on a black background",
        "a large purple cross on a gray background",
        "a small cyan square left of a large red star on a brown background",
    ),
    seed=5,
    distractors=(
        ("a large red circle on a white background", "a small red square on a white background"),
        ("a large blue star below a small green ring on a black background",),
        ("a large purple cross on a brown background",),
        ("a small cyan square right of a large red star on a brown background",),
    ),
)
SAMPLING = SamplingSettings(num_inference_steps=3, guidance_scale=3.0, batch_size=4)


def save_pipeline(folder: Path, seed: int = 0) -> str:
    """A stock pipeline that draws 16x16 pictures from 8x8 latents; its folder as text."""
    torch.manual_seed(seed)
    tokenizer = build_tokenizer(seed)
    text_encoder = CLIPTextModel(_text_config(tokenizer, num_hidden_layers=1))
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    pipeline = StableDiffusionPipeline(
        vae=_vae(),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(timestep_spacing="trailing", clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    return str(folder)


def save_sdxl_pipeline(folder: Path, seed: int = 0, **settings: Any) -> str:
    """The same of SDXL's kind; ``settings`` are the pipeline's own."""
    torch.manual_seed(seed)
    tokenizer = build_tokenizer(seed)
    config = _text_config(tokenizer, num_hidden_layers=2, projection_dim=12)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2),
        cross_attention_dim=32,
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 12,
        norm_num_groups=4,
    )
    pipeline = StableDiffusionXLPipeline(
        vae=_vae(),
        text_encoder=CLIPTextModel(config),
        text_encoder_2=CLIPTextModelWithProjection(config),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            timestep_spacing="leading",
            steps_offset=1,
        ),
        add_watermarker=False,
        **settings,
    )
    pipeline.save_pretrained(folder)
    return str(folder)


def _text_config(tokenizer: CLIPTokenizer, **settings: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_attention_heads=2,
        max_position_embeddings=CONTEXT_LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **settings,
    )


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16),
        latent_channels=4,
        norm_num_groups=4,
        sample_size=JUDGED_SIZE,
    )


def save_clip(folder: Path, image_size: int = JUDGED_SIZE) -> ClipModel:
    """An open_clip folder with its own tokenizer, and how evaluators name it."""
    tokenizer = build_tokenizer(0)
    tokenizer.save_pretrained(folder)
    model_config = {
        "embed_dim": 8,
        "vision_cfg": {
            "image_size": image_size,
            "layers": 1,
            "width": 16,
            "patch_size": 8,
            "head_width": 8,
        },
        "text_cfg": {
            "context_length": CONTEXT_LENGTH,
            "vocab_size": len(tokenizer),
            "hf_tokenizer_name": "local-dir",
            "width": 16,
            "heads": 2,
            "layers": 1,
        },
    }
    config = {
        "model_cfg": model_config,
        "preprocess_cfg": {"mean": [0.5, 0.4, 0.3], "std": [0.5, 0.25, 0.2]},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(1)
    model = open_clip.CLIP(**model_config)
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    return ClipModel(name=f"local-dir:{folder}")


def save_pick_score(folder: Path) -> TransformersModel:
    """A CLIP of transformers, as PickScore is one, and how evaluators name it."""
    tokenizer = build_tokenizer(0)
    torch.manual_seed(2)
    config = CLIPConfig(
        text_config=_text_config(tokenizer, num_hidden_layers=1).to_dict(),
        vision_config=_vision_config(),
        projection_dim=8,
    )
    CLIPModel(config).save_pretrained(folder)
    size = {"shortest_edge": JUDGED_SIZE}
    crop = {"height": JUDGED_SIZE, "width": JUDGED_SIZE}
    CLIPProcessor(CLIPImageProcessor(size=size, crop_size=crop), tokenizer).save_pretrained(folder)
    return TransformersModel(name=str(folder))


def save_siglip(folder: Path) -> TransformersModel:
    """The same of SigLIP's kind, which has another text encoder and a bias."""
    tokenizer = build_tokenizer(0)
    torch.manual_seed(3)
    config = SiglipConfig(
        text_config=_text_config(tokenizer, num_hidden_layers=1).to_dict(),
        vision_config=_vision_config(),
    )
    SiglipModel(config).save_pretrained(folder)
    size = {"height": JUDGED_SIZE, "width": JUDGED_SIZE}
    SiglipProcessor(SiglipImageProcessor(size=size), tokenizer).save_pretrained(folder)
    return TransformersModel(name=str(folder))


def _vision_config() -> dict[str, int]:
    return {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "image_size": JUDGED_SIZE,
        "patch_size": 8,
    }


def make_spec(pipeline: str, clip: ClipModel) -> EvaluatorSpec:
    return EvaluatorSpec(pipeline=pipeline, scorer=clip, prompts=PROMPTS, sampling=SAMPLING)
