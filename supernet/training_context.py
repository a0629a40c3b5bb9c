"""What a UNet is trained in: its mode, the source of its dropout, a precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from random import Random

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor

from supernet.precision import PrecisionChoice, settled_precision, warn_of_emulation
from supernet.training_settings import OptimizationSettings


@contextmanager
def training_mode(unet: UNet2DConditionModel, settings: OptimizationSettings) -> Iterator[None]:
    """The UNet as it is trained; as it was on leaving, in eval mode."""
    fused = unet.attn_processors
    checkpointed = unet.is_gradient_checkpointing
    unet.train()
    if unet.device.type == "cpu":
        # The backward pass of torch's fused attention is slow there: on small feature maps a
        # whole step takes half as long again.
        unet.set_attn_processor(AttnProcessor())
    if settings.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    try:
        yield
    finally:
        if settings.gradient_checkpointing and not checkpointed:
            unet.disable_gradient_checkpointing()
        unet.set_attn_processor(fused)
        unet.eval()


@contextmanager
def seeded(text: str, device: torch.device) -> Iterator[None]:
    """Modules that draw (dropout) do so from this seed; torch's own generators are left alone."""
    seed = Random(text).getrandbits(63)
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.default_generator.manual_seed(seed)
        for each in devices:
            with torch.cuda.device(each):
                torch.cuda.manual_seed(seed)
        yield


def autocast(precision: PrecisionChoice, device: torch.device) -> AbstractContextManager[object]:
    """A forward pass in a precision; ``auto`` is what the device is fast in."""
    settled = settled_precision(precision, device.type)
    warn_of_emulation(settled, device.type)
    if settled == "fp32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16 if settled == "bf16" else torch.float16)
