"""Does robust training make inherited weights rank architectures as their own training would?

A search ranks architectures by what they draw with the supernet's weights. That is sound if the
ranks stay when each architecture is then trained for itself. Two supernets are made of the shipped
base UNet with the same steps, one by plain and one by robust training (SnapFusion, Sec. 3.1), and
both are asked about the same random architectures: CLIP with inherited weights. What these are
worth is their CLIP after a short fine-tuning of every single one, once from either supernet.
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
    # What an architecture is worth does not depend on where it began.
    worth = (robust.fine_tuned + plain.fine_tuned) / 2
    most = int(robust.removed.max())
    on_what = (
        f"{size.architectures} architectures of the shapes UNet with 1 to {most} random blocks "
        f"removed, {size.prompts} held-out prompts; spread: 95 % bootstrap over architectures"
    )
    made = f"{size.training_steps} steps of training, {size.fine_tuning_steps} of fine-tuning"
    common = (
        "CLIP with inherited weights against CLIP after stand-alone fine-tuning, the mean of one "
        f"from either supernet; {made}; {on_what}"
    )
    own = f"the same against the fine-tuning from this supernet alone; {on_what}"
    truths = f"fine-tuned from one supernet against fine-tuned from the other; {on_what}"
    return [
        _rank_figure("kendall_tau_robust", kendall_tau, robust, worth, common, Goal(">=", 0.8)),
        _rank_figure("kendall_tau_plain", kendall_tau, plain, worth, common),
        _gain_figure(robust, plain, worth, on_what),
        _rank_figure("spearman_robust", spearman, robust, worth, common),
        _rank_figure("spearman_plain", spearman, plain, worth, common),
        _rank_figure("kendall_tau_robust_own", kendall_tau, robust, robust.fine_tuned, own),
        _rank_figure("kendall_tau_plain_own", kendall_tau, plain, plain.fine_tuned, own),
        _agreement_figure(robust, plain, truths),
        _drop_figure("clip_drop_per_block_robust", robust, on_what),
        _drop_figure("clip_drop_per_block_plain", plain, on_what),
    ]


def _rank_figure(
    name: str,
    correlation: Callable[[Tensor, Tensor], Tensor],
    ranking: Ranking,
    worth: Tensor,
    what: str,
    goal: Goal | None = None,
) -> Figure:
    inherited, rows = ranking.inherited, resamples(len(worth))
    return Figure(
        name,
        correlation(inherited, worth).item(),
        what,
        spread=interval(correlation(inherited[rows], worth[rows])),
        goal=goal,
        points={
            "removed": tuple(ranking.removed.tolist()),
            "inherited": tuple(inherited.tolist()),
            "fine_tuned": tuple(worth.tolist()),
        },
    )


def _gain_figure(robust: Ranking, plain: Ranking, worth: Tensor, on_what: str) -> Figure:
    """The difference of both taus, resampled together: the same architectures are in both."""
    rows = resamples(len(worth))
    gains = [
        kendall_tau(robust.inherited[chosen], worth[chosen])
        - kendall_tau(plain.inherited[chosen], worth[chosen])
        for chosen in (torch.arange(len(rows)), rows)
    ]
    return Figure(
        "kendall_tau_gain",
        gains[0].item(),
        f"kendall_tau_robust - kendall_tau_plain; {on_what}",
        spread=interval(gains[1]),
        goal=Goal(">=", 0),
    )


def _agreement_figure(robust: Ranking, plain: Ranking, what: str) -> Figure:
    """As good as one fine-tuning is told by another: what a tau can be compared with."""
    rows = resamples(len(robust.removed))
    one, other = robust.fine_tuned, plain.fine_tuned
    agreement, spread = kendall_tau(one, other), interval(kendall_tau(one[rows], other[rows]))
    return Figure("kendall_tau_of_fine_tunings", agreement.item(), what, spread=spread)


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
