"""Blocks at the beginning of a pass that an earlier pass has run already.

Architectures that are compared differ in a few blocks, and the first step of their drawings has
the same inputs: up to the first block in which two of them differ, both compute the same.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from diffusers import UNet2DConditionModel
from torch import nn

from supernet.architecture import Architecture
from supernet.unet_blocks import block_ids, find_block, replace_block


class SharedPrefix:
    """Remembers what every block answered in a pass, for the passes that begin as it did.

    What is taken over are the tensors themselves, so outputs are those of a whole pass, bit for
    bit. They take as much memory as the outputs of all blocks: those of one pass are kept.

    Args:
        unet: of a supernet.
    """

    def __init__(self, unet: UNet2DConditionModel) -> None:
        self._unet = unet
        self._blocks = block_ids(unet)
        self.forget()

    def forget(self) -> None:
        """Let go of everything, as has to be done when weights change."""
        self._inputs: Hashable = None
        self._architecture: Architecture | None = None
        self._outputs: list[Any] = []

    @contextmanager
    def first_pass(self, architecture: Architecture, inputs: Hashable) -> Iterator[None]:
        """Share the first pass that the UNet makes within.

        Args:
            architecture: that is running.
            inputs: stands for those of this pass: the same for the same ones.
        """
        shared = self._in_common(architecture) if inputs == self._inputs else 0
        known = self._outputs[:shared]
        self.forget()
        outputs = list(known)
        with ExitStack() as sharing:
            start = self._unet.register_forward_pre_hook(
                lambda *_: self._begin(known, outputs, sharing)
            )
            end = self._unet.register_forward_hook(lambda *_: sharing.close())
            sharing.callback(start.remove)
            sharing.callback(end.remove)
            yield
        if len(outputs) == len(self._blocks):
            self._inputs, self._architecture, self._outputs = inputs, architecture, outputs

    def _in_common(self, architecture: Architecture) -> int:
        """How many blocks come before the first one in which architectures differ."""
        last = self._architecture
        assert last is not None
        for number, block in enumerate(self._blocks):
            parts = architecture.sites[block]
            if parts != last.sites[block] or any(architecture[b] != last[b] for b in parts):
                return number
        return len(self._blocks)

    def _begin(self, known: list[Any], outputs: list[Any], sharing: ExitStack) -> None:
        """Put answers in the place of blocks that are known, and listen to the others."""
        for block, output in zip(self._blocks, known, strict=False):
            sharing.callback(replace_block, self._unet, block, find_block(self._unet, block))
            replace_block(self._unet, block, _Known(output))
        for block in self._blocks[len(known) :]:
            hook = find_block(self._unet, block).register_forward_hook(
                lambda _module, _inputs, output: outputs.append(output)
            )
            sharing.callback(hook.remove)


class _Known(nn.Module):
    """Answers what a block would."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output

    def forward(self, *_: Any, **__: Any) -> Any:
        return self.output
