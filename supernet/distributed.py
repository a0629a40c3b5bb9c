"""Several processes that share one training, by ``torch.distributed``.

``DistributedDataParallel`` averages the gradients of one wrapped module during its backward pass.
Here a step may be many passes, of architectures that leave out different weights; averaging what
there is once they are all done is simpler, needs no second copy of all gradients, and leaves a
weight that no pass has used without a gradient, so that the optimizer does not move it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

_BUCKET = 8 * 2**20  # weights whose gradients travel together


@dataclass(frozen=True)
class Workers:
    """The processes of a training, and which of them this one is.

    Every method but :meth:`share` is collective: all workers call it, or none goes on.

    Attributes:
        rank: of this process, from 0.
        count: of all.
    """

    rank: int = 0
    count: int = 1

    @classmethod
    def here(cls) -> Workers:
        """Those of the process group that is initialized, or this process alone."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    def share(self, rows: range) -> range:
        """This worker's rows of a part of a batch."""
        return rows[self.rank :: self.count]

    def equal_weights(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give all workers the weights of the first."""
        if self.count > 1:
            for parameter in parameters:
                dist.broadcast(parameter.detach(), src=0)

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace gradients by their mean over all workers.

        A weight that no worker has a gradient of stays without; one that some have none of, since
        none of their pictures ran its block, counts as zero there.
        """
        if self.count == 1:
            return
        device = parameters[0].device
        exists = torch.tensor(
            [parameter.grad is not None for parameter in parameters],
            dtype=torch.uint8,
            device=device,
        )
        dist.all_reduce(exists, op=dist.ReduceOp.MAX)
        chosen = [p for p, any_has in zip(parameters, exists.tolist(), strict=True) if any_has]
        for bucket in _buckets(chosen):
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            dist.all_reduce(flat)
            parts = flat.div_(self.count).split([p.numel() for p in bucket])
            for parameter, part in zip(bucket, parts, strict=True):
                parameter.grad = part.view_as(parameter)

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a scalar over all workers."""
        if self.count == 1:
            return value
        total = value.clone()
        dist.all_reduce(total)
        return total / self.count

    def agree(self, value: int, device: torch.device) -> bool:
        """Whether all workers have the same number."""
        if self.count == 1:
            return True
        extremes = torch.tensor([value, -value], device=device)
        dist.all_reduce(extremes, op=dist.ReduceOp.MAX)
        highest, lowest = extremes.tolist()
        return bool(highest == -lowest)

    def wait(self) -> None:
        """Go on once all workers are here."""
        if self.count > 1:
            dist.barrier()


def _buckets(parameters: Iterable[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Neighbours of one type, some ten megabytes at a time."""
    bucket: list[nn.Parameter] = []
    size = 0
    for parameter in parameters:
        if bucket and (size >= _BUCKET or parameter.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(parameter)
        size += parameter.numel()
    if bucket:
        yield bucket
