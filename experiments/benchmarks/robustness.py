"""Does robust training make inherited weights rank architectures as their own training would?

A search ranks architectures by what they draw with the supernet's weights. That is sound if the
ranks stay when each architecture is then trained for itself. Two supernets are made of the shipped
base UNet with the same steps, one by plain and one by robust training (SnapFusion, Sec. 3.1), and
both are asked about the same random architectures: CLIP with inherited weights, and CLIP after a
short fine-tuning of every single one from there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots
from rich.console import Console
from torch import Tensor
from torchmetrics.functional import kendall_rank_corrcoef, spearman_corrcoef

from experiments.benchmarks.benchmark import Figure, Goal
from experiments.benchmarks.ranking import PLAIN, ROBUST, Ranking, Size, rank

_SEED = 0
_RESAMPLES = 1000
_QUICK = Size(architectures=5, prompts=8, pictures=256, training_steps=6, fine_tuning_steps=3)
_WHOLE = Size(architectures=40, prompts=64, pictures=2048, training_steps=300, fine_tuning_steps=70)


def run(quick: bool, console: Console) -> list[Figure]:
    """Train two supernets of the shipped base UNet and rank random architectures with each."""
    size = _QUICK if quick else _WHOLE
    return figures(rank(size, os.cpu_count() or 1, console), size)


# --- statistics


def kendall_tau(x: Tensor, y: Tensor) -> Tensor:
    """Kendall's tau-b over the first dimension of fp64 ``(n,)`` or ``(n, columns)``."""
    return torch.as_tensor(kendall_rank_corrcoef(x, y))


def spearman(x: Tensor, y: Tensor) -> Tensor:
    """Spearman's rho over the first dimension of fp64 ``(n,)`` or ``(n, columns)``."""
    return spearman_corrcoef(x, y)


def drop_per_block(full: float, clip: Tensor, removed: Tensor) -> Tensor:
    """Slope through the origin of CLIP lost over blocks removed, by least squares.

    Args:
        full: CLIP score with every block on.
        clip: of architectures, ``(n,)`` or ``(n, columns)``.
        removed: how many blocks these lack, of the same shape.
    """
    return (removed * (full - clip)).sum(dim=0) / removed.square().sum(dim=0)


def resamples(count: int) -> Tensor:
    """Rows of a bootstrap: ``(count, 1000)`` indices drawn with replacement in every column."""
    generator = torch.Generator().manual_seed(_SEED)
    return torch.randint(count, (count, _RESAMPLES), generator=generator)


def interval(values: Tensor) -> tuple[float, float]:
    """The middle 95 % of a statistic's resampled values; those that have none left out."""
    low, high = values.double().nanquantile(torch.tensor([0.025, 0.975]).double()).tolist()
    return low, high


# --- figures


def figures(rankings: Mapping[str, Ranking], size: Size) -> list[Figure]:
    """What the rankings come to; spreads are intervals over the choice of architectures."""
    robust, plain = rankings[ROBUST], rankings[PLAIN]
    most = int(robust.removed.max())
    on_what = (
        f"{size.architectures} architectures of the shapes UNet with 1 to {most} random blocks "
        f"removed, {size.prompts} held-out prompts; spread: 95 % bootstrap over architectures"
    )
    made = f"{size.training_steps} steps of training, {size.fine_tuning_steps} of fine-tuning"
    own = f"CLIP with inherited weights against CLIP after fine-tuning from them; {made}; {on_what}"
    agreement = kendall_tau(robust.fine_tuned, plain.fine_tuned).item()
    cross = (
        "the same against CLIP after fine-tuning from the other supernet; tau of both fine-tunings "
        f"{agreement:.2f}; {on_what}"
    )
    return [
        _rank_figure("kendall_tau_robust", kendall_tau, robust, robust, own, Goal(">=", 0.8)),
        _rank_figure("kendall_tau_plain", kendall_tau, plain, plain, own),
        _gain_figure(robust, plain, on_what),
        _rank_figure("kendall_tau_robust_cross", kendall_tau, robust, plain, cross),
        _rank_figure("kendall_tau_plain_cross", kendall_tau, plain, robust, cross),
        _rank_figure("spearman_robust", spearman, robust, robust, own),
        _rank_figure("spearman_plain", spearman, plain, plain, own),
        _drop_figure("clip_drop_per_block_robust", robust, on_what),
        _drop_figure("clip_drop_per_block_plain", plain, on_what),
    ]


def _rank_figure(
    name: str,
    correlation: Callable[[Tensor, Tensor], Tensor],
    inherited: Ranking,
    fine_tuned: Ranking,
    what: str,
    goal: Goal | None = None,
) -> Figure:
    x, y = inherited.inherited, fine_tuned.fine_tuned
    rows = resamples(len(x))
    return Figure(
        name,
        correlation(x, y).item(),
        what,
        spread=interval(correlation(x[rows], y[rows])),
        goal=goal,
        points={
            "removed": tuple(inherited.removed.tolist()),
            "inherited": tuple(x.tolist()),
            "fine_tuned": tuple(y.tolist()),
        },
    )


def _gain_figure(robust: Ranking, plain: Ranking, on_what: str) -> Figure:
    """The difference of both taus, resampled together: the same architectures are in both."""
    rows = resamples(len(robust.removed))
    gains = [
        kendall_tau(robust.inherited[chosen], robust.fine_tuned[chosen])
        - kendall_tau(plain.inherited[chosen], plain.fine_tuned[chosen])
        for chosen in (torch.arange(len(rows)), rows)
    ]
    return Figure(
        "kendall_tau_gain",
        gains[0].item(),
        f"kendall_tau_robust - kendall_tau_plain; {on_what}",
        spread=interval(gains[1]),
        goal=Goal(">=", 0),
    )


def _drop_figure(name: str, ranking: Ranking, on_what: str) -> Figure:
    rows = resamples(len(ranking.removed))
    slopes = drop_per_block(ranking.full, ranking.inherited[rows], ranking.removed[rows])
    return Figure(
        name,
        drop_per_block(ranking.full, ranking.inherited, ranking.removed).item(),
        f"CLIP that inherited weights lose by each removed block, least squares from "
        f"{ranking.full:.4f} with every block on; {on_what}",
        spread=interval(slopes),
    )


def picture(measured: Sequence[Figure]) -> go.Figure:
    """Inherited against fine-tuned CLIP, both supernets side by side on the same axes."""
    names = (f"kendall_tau_{PLAIN}", f"kendall_tau_{ROBUST}")
    shown = {figure.name: figure for figure in measured if figure.name in names}
    page = make_subplots(
        cols=2,
        shared_xaxes="all",
        shared_yaxes="all",
        subplot_titles=[f"{name} {shown[name].value:.2f}" for name in names],
    )
    for column, name in enumerate(names, start=1):
        points = shown[name].points or {}
        marks = go.Scatter(
            mode="markers",
            x=points["inherited"],
            y=points["fine_tuned"],
            marker={"color": points["removed"], "coloraxis": "coloraxis", "size": 9},
            hovertemplate="inherited %{x:.4f}<br>fine-tuned %{y:.4f}"
            "<br>%{marker.color} blocks removed<extra></extra>",
        )
        page.add_trace(marks, row=1, col=column)
    page.update_xaxes(title="CLIP with inherited weights")
    page.update_yaxes(title="CLIP after fine-tuning", col=1)
    page.update_layout(
        template="plotly_white",
        showlegend=False,
        coloraxis={"colorscale": "Viridis", "colorbar": {"title": "blocks<br>removed"}},
    )
    return page
