"""The run folder of a decoder."""

from __future__ import annotations

from pathlib import Path

from experiments.experiment import Experiment
from experiments.run_folder import RunFolder, RunFolderError


class DecoderFolder(RunFolder):
    """Paths of a distillation's files, besides those of every run."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.pairs = path / "pairs"
        self.held_out = path / "held-out-pairs"
        self.comparison = path / "comparison-pairs"
        self.candidates = path / "candidates"
        self.vae = path / "vae"
        self.trained = self.checkpoints / "decoder.safetensors"
        self.training = self.checkpoints / "decoder.training.safetensors"

    def _made(self) -> tuple[Path, ...]:
        own = (self.pairs, self.held_out, self.comparison, self.candidates, self.vae)
        return (*super()._made(), *own)

    def check(self, experiment: Experiment, overwrite: bool) -> None:
        """Refuse to write over another run; an interrupted one of this very experiment goes on.

        Raises:
            RunFolderError: see :meth:`RunFolder.check_free`.
        """
        if overwrite or not self.experiment.exists():
            self.check_free(overwrite)
        elif self.load_experiment() != experiment:
            raise RunFolderError(
                f"{self.path}: is a run with other settings; go back to those to continue it, or "
                "give another --run or --overwrite"
            )

    def begin(self, experiment: Experiment, overwrite: bool) -> None:
        """Create the folder, unless there is a run to go on with."""
        if overwrite or not self.experiment.exists():
            self.create(experiment)


def refuse_decoders(path: Path) -> None:
    """See that a run folder is none of a decoder, which is no search to go on with.

    Raises:
        RunFolderError: if it is.
    """
    if DecoderFolder(path).comparison.exists():
        raise RunFolderError(
            f"{path}: is the run of a decoder; call 'evounet distill decoder' again as before"
        )
