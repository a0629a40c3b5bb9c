"""Progress of long work: a rich bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

# Called with the work done so far and the figures worth showing beside it.
OnProgress = Callable[[int, dict[str, float]], None]

_PLAIN_LINE_EVERY_S = 15.0


@contextmanager
def track(console: Console, description: str, total: int) -> Iterator[OnProgress]:
    """Show the progress of ``total`` units of work; yields the callback that reports it.

    The callback takes the number of units done so far and a mapping of figures (a loss, a score),
    which are printed beside the rate and the time left.
    """
    reporter = _bar if console.is_terminal else _plain_lines
    with reporter(console, description, total) as on_progress:
        yield on_progress


@contextmanager
def _bar(console: Console, description: str, total: int) -> Iterator[OnProgress]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    start = time.monotonic()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(description, total=total, rate="", figures="")

        def on_progress(done: int, figures: dict[str, float]) -> None:
            progress.update(
                task,
                completed=done,
                rate=_rate(done, time.monotonic() - start),
                figures=_figures(figures),
            )

        yield on_progress


@contextmanager
def _plain_lines(console: Console, description: str, total: int) -> Iterator[OnProgress]:
    start = time.monotonic()
    last = start

    def on_progress(done: int, figures: dict[str, float]) -> None:
        nonlocal last
        now = time.monotonic()
        if done < total and now - last < _PLAIN_LINE_EVERY_S:
            return
        last = now
        elapsed = now - start
        left = elapsed / max(done, 1) * (total - done)
        console.print(
            f"{description}: {done}/{total}  {_rate(done, elapsed)}  "
            f"{elapsed:.0f} s, {left:.0f} s left  {_figures(figures)}".rstrip(),
            highlight=False,
            soft_wrap=True,
        )

    yield on_progress


def _rate(done: int, elapsed: float) -> str:
    if not done or not elapsed:
        return ""
    rate = done / elapsed
    return f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each"


def _figures(figures: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
