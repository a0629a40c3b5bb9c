"""Teachers' answers on disk, for stages with several students of one teacher."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from supernet.checkpoint import load_tensors, save_tensors


@dataclass(frozen=True)
class KeptTargets:
    """:class:`distillation.step_training.Targets` that are worked out once.

    Workers share the folder: each step's rows are a file of their own, in fp32, bit for bit what
    the teacher said.

    Attributes:
        folder: of one teacher, data, seed and settings.
    """

    folder: Path

    def __call__(self, step: int, rows: range, guided: bool, teach: Callable[[], Tensor]) -> Tensor:
        """See :class:`distillation.step_training.Targets`.

        Raises:
            CheckpointError: if a file is damaged.
        """
        name = f"{step:06}-{rows.start}-{rows.stop}-{rows.step}{'-guided' if guided else ''}"
        path = self.folder / f"{name}.safetensors"
        if path.exists():
            return load_tensors(path)[0]["reached"]
        reached = teach()
        save_tensors(path, {"reached": reached.cpu()}, {})
        return reached
