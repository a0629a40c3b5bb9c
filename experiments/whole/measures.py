"""Base and final pipeline side by side: parts, time, pictures, and the paper's row beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from rich.table import Table

from evaluators.pipelines import Pipeline
from evaluators.scorers import CaptionAccuracy, ScorerSettings
from experiments.comparison import Pictures
from experiments.whole.published import SNAP_FUSION, STABLE_DIFFUSION
from experiments.whole.timing import Factors, Times
from search.decision import paired_difference

COLUMNS = ("", "base", "final", "final against base", "the paper's")  # of WholeComparison.rows
_CONFIDENCE = 1.96  # standard errors


@dataclass(frozen=True)
class Parameters:
    """Of a pipeline's parts; the decoder's with the convolution before it."""

    text_encoder: int
    unet: int
    decoder: int

    @classmethod
    def of(cls, pipeline: Pipeline) -> Parameters:
        encoders = [getattr(pipeline, name, None) for name in ("text_encoder", "text_encoder_2")]
        vae = pipeline.vae
        decoders = [vae.decoder, getattr(vae, "post_quant_conv", None)]
        return cls(
            *(
                sum(weight.numel() for part in parts if part for weight in part.parameters())
                for parts in (encoders, [pipeline.unet], decoders)
            )
        )


@dataclass(frozen=True)
class WholeSide:
    """One of the two pipelines.

    Attributes:
        times: of its parts and of a picture, measured in turns with the other side's.
        parameters: of its parts.
        pictures: of the comparison's prompts.
    """

    times: Times
    parameters: Parameters
    pictures: Pictures


@dataclass(frozen=True)
class WholeComparison:
    """Both pipelines on the same prompts, from the same noise.

    Attributes:
        base: as it came.
        final: what the run made of it.
        judges: whose scores they have.
        guidance_scale: of both.
    """

    base: WholeSide
    final: WholeSide
    judges: tuple[ScorerSettings, ...]
    guidance_scale: float

    @property
    def factors(self) -> Factors:
        return Factors.between(self.base.times, self.final.times)

    @property
    def clip_ratio(self) -> float:
        """Mean score of the first judge, final over base."""
        return self.final.pictures.clip / self.base.pictures.clip

    @property
    def clip_interval(self) -> tuple[float, float]:
        """95 % interval of it over prompts, from paired differences."""
        sides = (self.final.pictures.scores.first, self.base.pictures.scores.first)
        difference, error = paired_difference(*reversed(sides))
        mean = fmean(sides[1])
        low, high = (1 + (difference + side * _CONFIDENCE * error) / mean for side in (-1, 1))
        return low, high

    @property
    def fid_ratio(self) -> float | None:
        """Final over base, where there is something to compare with."""
        before, after = self.base.pictures.distance, self.final.pictures.distance
        return after.fid / before.fid if before and after else None

    def figures(self) -> dict[str, Any]:
        """Flat figures: factors, ratios, and both sides' own ending in ``_base`` and ``_final``."""
        factors = self.factors
        figures: dict[str, Any] = {
            "wall_speedup": factors.whole,
            "unet_speedup": factors.unet,
            "steps_factor": factors.steps,
            "decoder_speedup": factors.decoder,
            "text_encoder_speedup": factors.text_encoder,
            "clip_ratio": self.clip_ratio,
        }
        if self.fid_ratio is not None:
            figures["fid_ratio"] = self.fid_ratio
        for when, side in (("base", self.base), ("final", self.final)):
            figures |= {f"{name}_{when}": value for name, value in self._of(side).items()}
        return figures

    def _of(self, side: WholeSide) -> dict[str, Any]:
        pictures, times, parameters = side.pictures, side.times, side.parameters
        figures: dict[str, Any] = {
            "picture_ms": times.picture_ms,
            "text_encoder_ms": times.text_encoder_ms,
            "unet_ms": times.unet_ms,
            "steps": times.steps,
            "decoder_ms": times.decoder_ms,
            "text_encoder_parameters": parameters.text_encoder,
            "unet_parameters": parameters.unet,
            "decoder_parameters": parameters.decoder,
            "clip": pictures.clip,
        }
        if pictures.second is not None:
            shares = isinstance(self.judges[1], CaptionAccuracy)
            figures["caption_accuracy" if shares else "second_score"] = pictures.second
        if pictures.distance is not None:
            figures["fid"] = pictures.distance.fid
        return figures

    def rows(self) -> Iterator[tuple[str, ...]]:
        """See :data:`COLUMNS`: times and steps as factors, all else as shares of the base's."""
        base, final = self.base.times, self.final.times
        paper = Factors.between(STABLE_DIFFUSION, SNAP_FUSION)
        ours = self.factors
        for name, form, before, after, factor, published in (
            (
                "text encoder, two prompts",
                "{:.2f} ms",
                base.text_encoder_ms,
                final.text_encoder_ms,
                ours.text_encoder,
                paper.text_encoder,
            ),
            ("UNet, one step", "{:.2f} ms", base.unet_ms, final.unet_ms, ours.unet, paper.unet),
            ("steps", "{:.0f}", base.steps, final.steps, ours.steps, paper.steps),
            (
                "image decoder",
                "{:.2f} ms",
                base.decoder_ms,
                final.decoder_ms,
                ours.decoder,
                paper.decoder,
            ),
            (
                "one picture",
                "{:.0f} ms",
                base.picture_ms,
                final.picture_ms,
                ours.whole,
                paper.whole,
            ),
        ):
            times = f"{factor:.2f}× less", f"{published:.2f}× less"
            yield name, form.format(before), form.format(after), *times
        yield from self._quality_rows()
        for part in ("text_encoder", "unet", "decoder"):
            before, after = (getattr(s.parameters, part) for s in (self.base, self.final))
            share = f"{after / before:.1%}"
            yield f"parameters, {_label(part)}", f"{before:,}", f"{after:,}", share, ""

    def _quality_rows(self) -> Iterator[tuple[str, ...]]:
        before, after = self.base.pictures, self.final.pictures
        scores = [(self.judges[0], before.clip, after.clip)]
        if before.second is not None and after.second is not None:
            scores.append((self.judges[1], before.second, after.second))
        for judge, old, new in scores:
            form = "{:.1%}" if isinstance(judge, CaptionAccuracy) else "{:.4f}"
            yield judge.title, form.format(old), form.format(new), f"{new / old:.1%}", ""
        if before.distance and after.distance and self.fid_ratio is not None:
            fids = (f"{each.distance.fid:.4g}" for each in (before, after) if each.distance)
            yield "FID", *fids, f"{self.fid_ratio:.1%}", ""

    @property
    def caption(self) -> str:
        """What the figures are of."""
        count = len(self.base.pictures.images)
        return (
            f"times: medians of pictures drawn one at a time, in turns, guidance "
            f"{self.guidance_scale:g}; scores: {count} prompts from the same noise; the paper: "
            f"an iPhone 14 Pro, {STABLE_DIFFUSION.picture_ms / 1000:.1f} s to "
            f"{SNAP_FUSION.picture_ms / 1000:.2f} s"
        )

    def table(self) -> Table:
        """The figures for people."""
        table = Table(*COLUMNS, title="base and final pipeline", caption=self.caption)
        for row in self.rows():
            table.add_row(*row)
        return table

    def shortfall(self) -> Iterator[str]:
        """Which factors are short of the paper's, and what they came from."""
        ours, paper = self.factors, Factors.between(STABLE_DIFFUSION, SNAP_FUSION)
        reasons = {
            "unet": "latency.target_ratio sets it; the paper's base took 1,700 ms a step on a "
            "phone, where attention at the highest resolution costs most",
            "steps": "steps.stages end with this many steps",
            "decoder": "decoder.sizes set it",
            "text_encoder": "it is left as it is, here and in the paper",
        }
        for name, reason in reasons.items():
            own, published = getattr(ours, name), getattr(paper, name)
            if own < 0.98 * published:
                yield f"{_label(name)}: {own:.2f}× where the paper has {published:.2f}×: {reason}"


def _label(part: str) -> str:
    """A part of a pipeline for people."""
    return part.replace("_", " ").replace("unet", "UNet")
