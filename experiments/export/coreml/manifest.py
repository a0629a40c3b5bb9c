"""What is in a folder of Core ML packages: ``coreml.json``, and the reference beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from experiments.export.coreml.choices import AttentionLayout, WeightFormat
from experiments.export.coreml.package import PackageError
from supernet.checkpoint import load_tensors, save_tensors

_MANIFEST, _REFERENCE = "coreml.json", "reference.safetensors"


class NetworkRecord(BaseModel):
    """A network as it was written and verified.

    Attributes:
        name: ``Unet``, ``VAEDecoder`` or ``TextEncoder``.
        packages: its files; two are run one after the other.
        parameters: number of weights.
        weight_bytes: size of their files.
        operations: how often each kind of operation occurs.
        seconds: that the conversion took.
        psnr_db: of the interpreter's answers against torch's, the least of all outputs, in dB.
        max_abs_diff: between them.
    """

    # Equal answers have an infinite PSNR, for which JSON has no number.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    name: str
    packages: tuple[str, ...]
    parameters: int
    weight_bytes: int
    operations: dict[str, int]
    seconds: float
    psnr_db: float
    max_abs_diff: float


class Manifest(BaseModel):
    """All networks of a folder.

    Attributes:
        version: of this file's format.
        experiment: that found the UNet.
        architecture: its id.
        unet_weights: 12 digits of the SHA-256 of names and values of its weights.
        attention: layout of the UNet's.
        weights: how they are stored.
        peak_gib: the most memory that the export took.
        networks: that are there.
        notes: lines on what Apple's Swift runtime needs to be told.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    experiment: str
    architecture: str
    unet_weights: str
    attention: AttentionLayout
    weights: WeightFormat
    peak_gib: float
    networks: tuple[NetworkRecord, ...]
    notes: tuple[str, ...]

    def save(self, folder: Path) -> None:
        text = self.model_dump_json(indent=2) + "\n"
        (folder / _MANIFEST).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """The inverse of :meth:`save`.

        Raises:
            PackageError: if there is none, or it is damaged.
        """
        path = folder / _MANIFEST
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise PackageError(
                f"{folder}: holds no Core ML export (it has no {_MANIFEST}); write one with "
                "'evounet export RUN --format coreml --out FOLDER'"
            ) from error
        except (UnicodeDecodeError, ValidationError) as error:
            fault = error.errors()[0] if isinstance(error, ValidationError) else None
            field = ".".join(map(str, fault["loc"])) if fault else ""
            what = f"field {field!r}: {fault['msg']}" if fault else "no text"
            raise PackageError(f"{path}: damaged ({what}); export it again") from error


class Reference:
    """Example inputs of every network and what torch answered to them.

    In one safetensors file, as ``NETWORK/input/NAME`` and ``NETWORK/output/NAME``.
    """

    def __init__(self) -> None:
        self._tensors: dict[str, Tensor] = {}

    def add(self, network: str, inputs: dict[str, Tensor], outputs: dict[str, Tensor]) -> None:
        for kind, features in (("input", inputs), ("output", outputs)):
            for name, value in features.items():
                self._tensors[f"{network}/{kind}/{name}"] = value

    def inputs(self, network: str) -> dict[str, Tensor]:
        return self._of(f"{network}/input/")

    def outputs(self, network: str) -> dict[str, Tensor]:
        return self._of(f"{network}/output/")

    def _of(self, prefix: str) -> dict[str, Tensor]:
        return {
            name.removeprefix(prefix): value
            for name, value in self._tensors.items()
            if name.startswith(prefix)
        }

    def save(self, folder: Path) -> None:
        save_tensors(folder / _REFERENCE, self._tensors, {})

    @classmethod
    def load(cls, folder: Path) -> Reference:
        """The inverse of :meth:`save`.

        Raises:
            CheckpointError: if there is none, or it is damaged.
        """
        reference = cls()
        reference._tensors, _ = load_tensors(folder / _REFERENCE)
        return reference
