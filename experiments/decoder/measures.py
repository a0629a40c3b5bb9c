"""What a smaller decoder is worth: its pictures against its teacher's, size and latency."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean as mean
from typing import Any

import torch
from diffusers import AutoencoderKL
from rich.table import Table
from torch import Tensor
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from distillation.pairs import Pairs, decode
from distillation.picture_loss import Distance
from evaluators.picture_sets import SetDistance

_BATCH = 32


@dataclass(frozen=True)
class Likeness:
    """How much two sets of pictures are alike, means over the pictures.

    Attributes:
        psnr_db: peak signal-to-noise ratio.
        ssim: structural similarity, 1 for equal ones.
        lpips: perceptual distance, 0 for equal ones; None where it was not asked for.
    """

    psnr_db: float
    ssim: float
    lpips: float | None = None


@dataclass(frozen=True)
class DecoderSide:
    """One of the two decoders.

    Attributes:
        parameters: of the decoder.
        measured_ms: of one pass, here and now; comparable with the other side's only.
        table_ms: of the same pass by each table.
        clip: mean of the first judge's scores of pictures with their prompts.
        distance: of the pictures from a reference, where there is one.
    """

    parameters: int
    measured_ms: float
    table_ms: tuple[float, ...]
    clip: float
    distance: SetDistance | None = None


@dataclass(frozen=True)
class DecoderComparison:
    """A teacher and a smaller decoder on the same latents.

    Attributes:
        teacher: as it came.
        student: the smaller one.
        likeness: of the student's pictures with the teacher's.
        tables: names of the tables.
        pictures: how many there were.
    """

    teacher: DecoderSide
    student: DecoderSide
    likeness: Likeness
    tables: tuple[str, ...]
    pictures: int

    def figures(self) -> dict[str, float]:
        """Flat figures; those of the two decoders end in ``_teacher`` and ``_student``."""
        figures: dict[str, Any] = {"psnr_db": self.likeness.psnr_db, "ssim": self.likeness.ssim}
        if self.likeness.lpips is not None:
            figures["lpips"] = self.likeness.lpips
        for whose, side in (("teacher", self.teacher), ("student", self.student)):
            figures[f"parameters_{whose}"] = side.parameters
            figures[f"decoder_ms_{whose}"] = side.measured_ms
            for name, table_ms in zip(self.tables, side.table_ms, strict=True):
                figures[f"decoder_ms_{whose}_{name}"] = table_ms
            figures[f"clip_{whose}"] = side.clip
            if side.distance is not None:
                figures[f"fid_{whose}"] = side.distance.fid
                figures[f"kid_{whose}"] = side.distance.kid
        return figures

    def table(self) -> Table:
        """The figures for people."""
        table = Table("", "teacher", "student", "student / teacher", title="image decoders")
        old, new = self.teacher, self.student
        rows = [
            ("latency as measured", "{:.2f} ms", old.measured_ms, new.measured_ms),
            *(
                (f"latency by {name}", "{:.2f} ms", before, after)
                for name, before, after in zip(self.tables, old.table_ms, new.table_ms, strict=True)
            ),
            ("parameters", "{:,.0f}", old.parameters, new.parameters),
            ("CLIP score", "{:.4f}", old.clip, new.clip),
        ]
        if old.distance is not None and new.distance is not None:
            rows.append(("FID", "{:.4g}", old.distance.fid, new.distance.fid))
            rows.append(("KID", "{:.3g}", old.distance.kid, new.distance.kid))
        for name, form, before, after in rows:
            share = f"{after / before:.1%}" if before > 0 else ""
            table.add_row(name, form.format(before), form.format(after), share)
        table.caption = f"{self.pictures} pictures: {likeness_text(self.likeness)}"
        return table


def likeness_text(likeness: Likeness) -> str:
    lpips = "" if likeness.lpips is None else f", LPIPS {likeness.lpips:.4f}"
    return f"PSNR {likeness.psnr_db:.2f} dB, SSIM {likeness.ssim:.4f}{lpips}"


@torch.no_grad()
def pictures_of(vae: AutoencoderKL, pairs: Pairs) -> Tensor:
    """A decoder's pictures of some latents, ``(n, 3, height, width)`` in [0, 1], on the CPU."""
    latents = pairs.latents.float().split(_BATCH)
    decoded = [decode(vae, chunk.to(vae.device)).float().cpu() for chunk in latents]
    return shown(torch.cat(decoded))


def shown(pictures: Tensor) -> Tensor:
    """Decoded pictures as a pipeline shows them: in [0, 1]."""
    return (pictures.float() / 2 + 0.5).clamp(0, 1)


def likeness(pictures: Tensor, targets: Tensor, lpips: Distance | None = None) -> Likeness:
    """How much pictures are like their targets, both in [0, 1].

    Args:
        pictures: ``(n, 3, height, width)``.
        targets: likewise.
        lpips: the perceptual distance, of pictures in [-1, 1].
    """
    psnr = peak_signal_noise_ratio(pictures, targets, data_range=1.0, dim=(1, 2, 3))
    ssim = structural_similarity_index_measure(pictures, targets, data_range=1.0)
    assert isinstance(ssim, Tensor)
    apart = None
    if lpips is not None:
        with torch.no_grad():
            chunks = zip(pictures.split(1), targets.split(1), strict=True)
            apart = mean(lpips(2 * one - 1, 2 * other - 1).item() for one, other in chunks)
    return Likeness(psnr.item(), ssim.item(), apart)


def psnr_on(vae: AutoencoderKL, pairs: Pairs) -> float:
    """Of a decoder's pictures against those of the pairs, in dB."""
    return likeness(pictures_of(vae, pairs), shown(pairs.pictures)).psnr_db
