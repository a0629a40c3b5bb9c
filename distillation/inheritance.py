"""The first weights of a smaller decoder: those of its teacher's most important channels.

Channels that are added to each other have to be kept or dropped together: all that write to a
stream of residual blocks, and all that read it. Such a set is a *space* here. A channel's
importance in a space is the sum, over the layers that write or read it, of the squares of the
weights that do so, each layer's divided by its mean over the channels; where a GroupNorm stands
before a layer, its gains count as part of the layer's weights. (Magnitudes over coupled layers, as
DepGraph, arXiv 2301.12900, groups them.) In each group of the norms the same number of channels is
kept, so that those which were normalised together still are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import Decoder
from torch import Tensor

from distillation.decoder_architecture import DecoderError
from distillation.decoders import autoencoder_config, build_decoder
from distillation.efficient_autoencoder import EfficientAutoencoderKL, SkippedMidResnet
from distillation.tiny_architecture import AnyDecoder, TinyDecoderArchitecture

_SEED = 0


@dataclass(eq=False)
class Space:
    """Channels of the teacher's decoder that belong together.

    Attributes:
        groups: of the norms that they pass; 1 where they pass none.
        importance: of each, ``(channels,)``; summed up while layers are met.
    """

    groups: int
    importance: Tensor | None = None

    def add(self, energy: Tensor) -> None:
        """Take a layer's weights in: sums of their squares by channel, ``(channels,)``."""
        share = energy / energy.mean().clamp_min(torch.finfo(energy.dtype).tiny)
        self.importance = share if self.importance is None else self.importance + share

    def kept(self, count: int) -> Tensor:
        """Which ``count`` channels are kept, in rising order; the most important of each group."""
        assert self.importance is not None
        by_group = self.importance.view(self.groups, -1)
        order = by_group.argsort(dim=1, descending=True, stable=True)
        chosen = order[:, : count // self.groups].sort(dim=1).values
        return (chosen + by_group.shape[1] * torch.arange(self.groups)[:, None]).flatten()


@dataclass(frozen=True)
class _Layer:
    """A layer of the smaller decoder, and whose channels it reads and writes."""

    name: str
    norm: str | None
    reads: Space
    writes: Space


def inherit(vae: AutoencoderKL, architecture: AnyDecoder) -> EfficientAutoencoderKL:
    """The autoencoder of an architecture with a teacher's encoder and most important channels.

    With the teacher's own sizes it is the teacher, bit for bit. A tiny decoder has nothing to
    inherit: its weights are random, the same each time.

    Args:
        vae: the teacher, of stock diffusers.
        architecture: of its configuration.

    Raises:
        DecoderError: if the architecture is of another base.
    """
    if isinstance(vae, EfficientAutoencoderKL) or architecture.base != autoencoder_config(vae):
        raise DecoderError(f"decoder {architecture.id} belongs to another base autoencoder")
    config = {**architecture.base.values, "decoder_sizes": architecture.sizes}
    # On meta no weights are drawn at random only to be replaced.
    with torch.device("meta"):
        student = EfficientAutoencoderKL.from_config(config)
    taught = {name: value.detach() for name, value in vae.state_dict().items()}
    weights = {name: taught[name].clone() for name in student.state_dict() if name in taught}
    if isinstance(architecture, TinyDecoderArchitecture):
        weights |= _random_weights(architecture)
    else:
        layers = list(_layers(student.decoder, taught))
        for layer in layers:
            _inherit_layer(layer, student.decoder.get_submodule(layer.name), taught, weights)
    student.load_state_dict(weights, assign=True)
    return student.train(vae.training)


def _random_weights(architecture: TinyDecoderArchitecture) -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        drawn = build_decoder(architecture).requires_grad_(False).state_dict()
    return {f"decoder.{name}": weight for name, weight in drawn.items()}


def _inherit_layer(
    layer: _Layer, module: Any, taught: Mapping[str, Tensor], weights: dict[str, Tensor]
) -> None:
    name = f"decoder.{layer.name}"
    rows_count, columns_count = module.weight.shape[:2]
    rows, columns = layer.writes.kept(rows_count), layer.reads.kept(columns_count)
    if f"{name}.weight" in taught:
        weights[f"{name}.weight"] = taught[f"{name}.weight"][rows][:, columns].clone()
        weights[f"{name}.bias"] = taught[f"{name}.bias"][rows].clone()
    else:  # a shortcut between stages that were equally wide: what both kept goes on
        same = (rows[:, None] == columns[None, :]).to(taught["decoder.conv_in.weight"])
        weights[f"{name}.weight"] = same[:, :, None, None]
        weights[f"{name}.bias"] = same.new_zeros(rows_count)
    if layer.norm is not None:
        for part in ("weight", "bias"):
            norm = f"decoder.{layer.norm}.{part}"
            weights[norm] = taught[norm][columns].clone()


def _layers(decoder: Decoder, taught: Mapping[str, Tensor]) -> Iterator[_Layer]:
    """The layers of a smaller decoder in forward order; their spaces learn what is important."""
    groups = decoder.conv_norm_out.num_groups

    def layer(name: str, reads: Space, writes: Space, norm: str | None = None) -> _Layer:
        _weigh(name, norm, reads, writes, taught)
        return _Layer(name, norm, reads, writes)

    def resnet(name: str, module: Any, reads: Space, writes: Space) -> Iterator[_Layer]:
        inside = Space(groups)
        yield layer(f"{name}.conv1", reads, inside, f"{name}.norm1")
        yield layer(f"{name}.conv2", inside, writes, f"{name}.norm2")
        if module.conv_shortcut is not None:
            yield layer(f"{name}.conv_shortcut", reads, writes)

    stream = Space(groups)
    yield layer("conv_in", Space(1), stream)
    mid = decoder.mid_block
    for i, module in enumerate(mid.resnets):
        if not isinstance(module, SkippedMidResnet):
            yield from resnet(f"mid_block.resnets.{i}", module, stream, stream)
    if mid.attentions[0] is not None:
        name, matched, values = "mid_block.attentions.0", Space(1), Space(1)
        norm = f"{name}.group_norm"
        yield layer(f"{name}.to_q", stream, matched, norm)
        yield layer(f"{name}.to_k", stream, matched, norm)
        yield layer(f"{name}.to_v", stream, values, norm)
        yield layer(f"{name}.to_out.0", values, stream)
    for i, stage in enumerate(decoder.up_blocks):
        for j, module in enumerate(stage.resnets):
            name = f"up_blocks.{i}.resnets.{j}"
            new = f"decoder.{name}.conv_shortcut.weight" in taught
            following = Space(groups) if new else stream
            yield from resnet(name, module, stream, following)
            stream = following
        if stage.upsamplers is not None:
            upsampled = Space(groups)
            yield layer(f"up_blocks.{i}.upsamplers.0.conv", stream, upsampled)
            stream = upsampled
    yield layer("conv_out", stream, Space(1), "conv_norm_out")


def _weigh(
    name: str, norm: str | None, reads: Space, writes: Space, taught: Mapping[str, Tensor]
) -> None:
    """Add a layer's weights to the importance of what it reads and writes."""
    weight = taught.get(f"decoder.{name}.weight")
    if weight is None:
        return
    rows, columns = weight.shape[:2]
    energy = weight.float().cpu().square().view(rows, columns, -1).sum(2)
    if norm is not None:
        energy = energy * taught[f"decoder.{norm}.weight"].float().cpu().square()
    writes.add(energy.sum(1))
    reads.add(energy.sum(0))
