"""Attention as the Neural Engine likes it, in the place of diffusers' own processor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.export.coreml.choices import AttentionLayout
from experiments.export.destination import ExportError

QUERIES_AT_ONCE = 512  # of split_einsum_v2, which Apple recommends for phones


class SplitEinsumAttention:
    """A processor that computes what diffusers' does, head by head and with channels second.

    The engine is fast on tensors ``(batch, channels, 1, tokens)``: projections are 1x1
    convolutions, and heads are slices of the channels, so that nothing is transposed or reshaped
    in between (Apple, *Deploying Transformers on the Apple Neural Engine*, principles 1 to 4).

    Args:
        queries_at_once: how many tokens' attention weights are in memory at a time; None for all.
    """

    def __init__(self, queries_at_once: int | None = None) -> None:
        self._queries_at_once = queries_at_once

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Attend from ``(batch, tokens, channels)`` to the context, or to itself."""
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        queries = _project(attn.to_q, _channels_second(hidden_states))
        keys = _project(attn.to_k, _channels_second(context))
        values = _project(attn.to_v, _channels_second(context))
        # Slices, where coremltools fails in the equal parts of ``split`` and ``chunk``.
        width = queries.shape[1] // attn.heads
        heads = [slice(start, start + width) for start in range(0, queries.shape[1], width)]
        tokens = queries.shape[3]
        step = self._queries_at_once or tokens
        steps = [slice(start, min(start + step, tokens)) for start in range(0, tokens, step)]
        keys = keys.transpose(1, 3)
        parts = [
            torch.cat(
                [
                    _attend(attn.scale, queries[:, head, :, some], keys[..., head], values[:, head])
                    for some in steps
                ],
                dim=3,
            )
            for head in heads
        ]
        attended = _project(attn.to_out[0], torch.cat(parts, dim=1))
        return attended.squeeze(2).transpose(1, 2)  # (batch, tokens, channels)


@contextmanager
def attention_layout(module: nn.Module, layout: AttentionLayout) -> Iterator[None]:
    """Let all attention inside of a module be computed in a layout for the time being.

    Raises:
        ExportError: naming the first one that has more to it than projections and heads.
    """
    attentions = {n: m for n, m in module.named_modules() if isinstance(m, Attention)}
    own = {name: attention.processor for name, attention in attentions.items()}
    try:
        if layout != "original":
            at_once = QUERIES_AT_ONCE if layout == "split_einsum_v2" else None
            for name, attention in attentions.items():
                _check_fits(name, attention)
                attention.set_processor(SplitEinsumAttention(at_once))
        yield
    finally:
        for name, attention in attentions.items():
            attention.set_processor(own[name])


def _check_fits(name: str, attention: Attention) -> None:
    more = [
        part
        for part in ("group_norm", "spatial_norm", "norm_q", "norm_k", "norm_cross", "add_k_proj")
        if getattr(attention, part, None) is not None
    ]
    if attention.residual_connection:
        more.append("residual_connection")
    if more:
        raise ExportError(
            f"{name}: attention with {' and '.join(more)} has no split-einsum form; "
            "use --attention original"
        )


def _attend(scale: float, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """One head: ``(b, c, 1, q)``, ``(b, k, 1, c)`` and ``(b, c, 1, k)`` to ``(b, c, 1, q)``."""
    weights = torch.einsum("bchq,bkhc->bkhq", queries, keys) * scale
    return torch.einsum("bkhq,bchk->bchq", weights.softmax(dim=1), values)


def _channels_second(tokens: Tensor) -> Tensor:
    """``(batch, tokens, channels)`` to ``(batch, channels, 1, tokens)``."""
    return tokens.transpose(1, 2).unsqueeze(2)


def _project(layer: nn.Linear | Any, tokens: Tensor) -> Tensor:
    return F.conv2d(tokens, layer.weight[:, :, None, None], layer.bias)
