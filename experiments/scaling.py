"""On how many workers a training runs, and where its checkpoints go."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ScalingSettings(BaseModel):
    """Data-parallel training by Ray Train.

    Attributes:
        workers: processes that share every batch; one without a GPU trains in this process.
        use_gpu: one GPU for each of them.
        storage_path: for their checkpoints, a folder or URL (``s3://...``) that all nodes reach;
            a folder beside the result by default, which is enough on one machine.
        max_failures: how often a training goes on from its last checkpoint after a worker died.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: int = Field(1, ge=1)
    use_gpu: bool = False
    storage_path: str | None = None
    max_failures: int = Field(3, ge=0)

    @property
    def on_ray(self) -> bool:
        """Whether trainings run as workers of Ray."""
        return self.workers > 1 or self.use_gpu

    @property
    def cpus(self) -> int:
        """Of Ray, that are kept free for its workers."""
        return self.workers if self.on_ray else 0
