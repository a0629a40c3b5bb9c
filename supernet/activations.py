"""Peak activation memory: how many values a pass of the UNet holds at the same time.

Counted in one pass on torch's meta device, operation by operation: whatever tensor is alive then,
without the weights. Attention counts as a fused kernel does it, as diffusers runs it on CPU and
CUDA: the matrix of scores is never held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from supernet.architecture import RESNET, Architecture, BlockId
from supernet.parts import Inventory
from supernet.tracing import example_inputs, meta_unet

_REST = ""  # outside of all modules that are told apart


class PeakActivations:
    """The most values that are alive at once in a pass of any architecture of one base UNet.

    What every block holds at its peak, with all that waits meanwhile for later stages, is counted
    in the base; an architecture holds as much as the worst of its blocks, or of what stays. That is
    exact for the base. Others may hold less: an unused skip connection may be one that is held
    already, and is counted twice.

    Times 4 bytes in fp32 and 2 in fp16; at the inventory's batch and resolution.
    """

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory

    def __call__(self, architecture: Architecture) -> int:
        return max(self._held(architecture))

    def beyond(self, architecture: Architecture, most: float) -> float:
        """Values above ``most``, summed over all blocks that hold more, and over what stays.

        It falls with each of them that is removed, where their maximum falls only with the last.
        """
        return sum(max(0.0, held - most) for held in self._held(architecture))

    def _held(self, architecture: Architecture) -> Iterator[int]:
        """At the peak of each block, and of what stays whatever is removed."""
        self._inventory.check(architecture)
        yield self._counted[_REST]
        for block, count in architecture.blocks:
            absent, present, copied = self._peaks[block]
            yield copied if count > 1 else present if count else absent

    @cached_property
    def _counted(self) -> Mapping[str, int]:
        """By module: see :func:`count_activations`."""
        inventory, about = self._inventory, self._inventory.overhead
        unet = meta_unet(inventory.config)
        inputs = example_inputs(unet, about.batch, about.height, about.width, about.context_length)
        names = [name for block in inventory.blocks for name in _modules(block.id)]
        return count_activations(unet, inputs, [name for name in names if _has(unet, name)])

    @cached_property
    def _peaks(self) -> Mapping[BlockId, tuple[int, int, int]]:
        """Of each block: removed, there, and repeated."""
        peaks = {}
        for block in self._inventory.blocks:
            first, *inner = (self._counted.get(name, 0) for name in _modules(block.id))
            present = max(first, *inner)
            signature = block.part.signature
            # Behind a copy waits what it is called with, besides what the block was called with.
            copied = present + (
                signature.batch * signature.out_channels * signature.height * signature.width
            )
            peaks[block.id] = (inner[0] if block.remainder is not None else 0, present, copied)
        return peaks


def _modules(block: BlockId) -> tuple[str, str]:
    """Paths of a block's module and of one that is told apart from it.

    Of a ResNet its shortcut, which stays; of a transformer layer the attention that holds it, which
    is there as long as any layer is.
    """
    name = ".".join(map(str, block.module_path))
    if block.kind == RESNET:
        return name, f"{name}.conv_shortcut"
    return name, ".".join(map(str, block.site.module_path))


def _has(unet: nn.Module, name: str) -> bool:
    parent, _, child = name.rpartition(".")
    return getattr(unet.get_submodule(parent), child, None) is not None


def count_activations(
    unet: nn.Module, inputs: Mapping[str, Any], names: list[str]
) -> dict[str, int]:
    """The most values alive at once while each module runs, in a pass on the meta device.

    Args:
        unet: on the meta device.
        inputs: of the pass; they count.
        names: paths of modules; what runs in one of them counts for the innermost.

    Returns:
        By path; of ``""`` while none of these modules runs.
    """
    counter = _Counter(unet)
    with counter.watching(unet, names), torch.no_grad(), counter, _FusedAttention():
        unet(**inputs)
    return {_REST: 0} | counter.peaks


class _Counter(TorchDispatchMode):
    """Looks after every operation at what is alive."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.peaks: dict[str, int] = {}
        self._weights = {each.untyped_storage()._cdata for each in unet.parameters()}
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self._running = [_REST]

    @contextmanager
    def watching(self, unet: nn.Module, names: list[str]) -> Iterator[None]:
        """With the modules of these names noticed when they run."""
        hooks = []
        for name in dict.fromkeys(names):
            module = unet.get_submodule(name)
            hooks.append(module.register_forward_pre_hook(partial(self._enter, name)))
            hooks.append(module.register_forward_hook(self._leave))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _enter(self, name: str, *_: Any) -> None:
        self._running.append(name)

    def _leave(self, *_: Any) -> None:
        self._running.pop()

    def __torch_dispatch__(
        self,
        operation: Callable[..., Any],
        types: Any,
        args: Any = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves((args, kwargs, result)):
            if isinstance(tensor, Tensor):
                self._note(tensor)
        self._alive = {k: held for k, held in self._alive.items() if not held[0].expired()}
        name = self._running[-1]
        now = sum(values for _, values in self._alive.values())
        self.peaks[name] = max(now, self.peaks.get(name, 0))
        return result

    def _note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._weights:
            values = storage.nbytes() // tensor.element_size()
            self._alive[storage._cdata] = StorageWeakRef(storage), values


class _FusedAttention(TorchFunctionMode):
    """Attention in one operation; the meta device would take it apart."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: Any = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if function is F.scaled_dot_product_attention:
            named = dict(zip(("query", "key", "value"), args, strict=False)) | (kwargs or {})
            query, value = named["query"], named["value"]
            return query.new_empty(*query.shape[:-1], value.shape[-1])
        return function(*args, **(kwargs or {}))
