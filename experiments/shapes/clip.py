"""The CLIP of the shapes world: the judge.

It is an open_clip model in a folder that open_clip loads by ``local-dir:FOLDER``, as it would
load any other CLIP.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import OneCycleLR

from experiments.progress import OnProgress
from experiments.shapes.dataset import PictureSet, batch_rows
from experiments.shapes.render import IMAGE_SIZE
from experiments.shapes.scene import Scene
from experiments.shapes.tokenizer import CONTEXT_LENGTH, save_tokenizer
from supernet.training_context import autocast

_MEAN, _STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
_DISTRACTORS_PER_PICTURE = 3
_MAX_LOGIT_SCALE = 100.0  # the bound of the CLIP paper


def model_config(vocab_size: int) -> dict[str, object]:
    """open_clip's configuration of it."""
    return {
        "embed_dim": 128,
        # A tuple of layers makes it a ResNet: on small pictures it learns faster than a ViT.
        "vision_cfg": {"image_size": IMAGE_SIZE, "layers": (1, 1, 1, 1), "width": 16},
        "text_cfg": {
            "context_length": CONTEXT_LENGTH,
            "vocab_size": vocab_size,
            "hf_tokenizer_name": "local-dir",  # the folder's own tokenizer
            "width": 96,
            "heads": 3,
            "layers": 2,
        },
    }


def train_clip(
    folder: Path,
    pictures: PictureSet,
    *,
    steps: int,
    batch_size: int,
    seed: int,
    on_progress: OnProgress,
) -> None:
    """Train by the symmetric contrastive loss of CLIP, with one-attribute distractors as extra
    negatives for every picture, and write the folder.
    """
    tokenizer = save_tokenizer(folder, seed)
    architecture = model_config(len(tokenizer))
    config = {
        "model_cfg": architecture,
        "preprocess_cfg": {"mean": _MEAN, "std": _STD},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")

    torch.manual_seed(seed)
    model = open_clip.CLIP(**architecture)
    tokenize = open_clip.get_tokenizer(f"local-dir:{folder}")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = OneCycleLR(optimizer, max_lr=1e-3, total_steps=steps, pct_start=0.1)
    for step, rows in enumerate(batch_rows(len(pictures), batch_size, range(steps), seed)):
        rng = random.Random(f"{seed}-{step}")
        scenes = [pictures.scenes[row] for row in rows.tolist()]
        captions = [scene.caption for scene in scenes]
        negatives = [caption for scene in scenes for caption in _negatives(scene, rng)]
        with autocast("auto", torch.device("cpu")):
            images = model.encode_image(pictures.images(rows), normalize=True)
        texts = model.encode_text(tokenize(captions + negatives), normalize=True)
        loss = _contrastive_loss(images.float(), texts.float(), model.logit_scale.exp())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=torch.tensor(_MAX_LOGIT_SCALE).log())
        on_progress(step + 1, {"loss": loss.item()})
    weights = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")


def _negatives(scene: Scene, rng: random.Random) -> list[str]:
    """Captions with one attribute changed, none of them held out.

    The first has the wrong relation if there is one, which is the hardest to learn: it takes
    all of which object is where. The others change any attribute, each as often as the next.
    (A caption that training only ever calls wrong would be judged wrong on sight, also where it
    is right, so held-out ones do not come up.)
    """
    groups = [[other for other in group if not other.held_out] for group in scene.variations()]
    groups = [group for group in groups if group]
    relations = [other for group in groups for other in group if other.relation != scene.relation]
    chosen = [relations or rng.choice(groups)]
    chosen += rng.choices(groups, k=_DISTRACTORS_PER_PICTURE - 1)
    return [rng.choice(group).caption for group in chosen]


def _contrastive_loss(images: Tensor, texts: Tensor, logit_scale: Tensor) -> Tensor:
    """CLIP's loss over ``(n, d)`` pictures and ``(n + n * k, d)`` texts, own captions first.

    A picture is told from every other caption of the batch and from its own k distractors; a
    caption from every other picture.
    """
    count = len(images)
    own, distractors = texts[:count], texts[count:].view(count, -1, texts.shape[1])
    logits = logit_scale * images @ own.T
    hard = logit_scale * torch.einsum("nd,nkd->nk", images, distractors)
    target = torch.arange(count)
    to_text = F.cross_entropy(torch.cat([logits, hard], dim=1), target)
    to_image = F.cross_entropy(logits.T, target)
    return (to_text + to_image) / 2
