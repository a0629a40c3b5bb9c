"""A found UNet beside its base: the paper's table of stages, and what was changed where.

Blocks bear the names that they have in diffusers, so that whoever reads it finds them.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.table import Table

from supernet.architecture import Architecture, BlockId, granularity_of
from supernet.inventory import take_inventory
from supernet.spec import Spec

HEADINGS = ("stage", "resolution", "channels", "", "base", "found")


def side_by_side(spec: Spec) -> Iterator[tuple[str, ...]]:
    """Rows under :data:`HEADINGS`: blocks by stage (the paper's Table 3), then the whole."""
    for stage in spec.stages:
        place = (stage.stage, f"{stage.height}x{stage.width}", str(stage.channels))
        counts = [("cross-attention", stage.cross_attentions), ("ResNet", stage.resnets)]
        layers = stage.transformer_layers
        if layers is not None and layers != stage.cross_attentions:
            counts.insert(1, ("transformer layers", layers))
        for kind, (base, found) in counts:
            if base:
                yield (*place, kind, str(base), str(found))
                place = ("", "", "")
    yield _whole("parameters", *map(in_millions, spec.parameters))
    yield _whole("MACs of a pass", *(f"{macs / 1e9:,.2f} G" for macs in spec.macs))
    for each in spec.latency:
        yield _whole(
            f"latency by {each.table}", f"{each.base_ms:,.2f} ms", f"{each.found_ms:,.2f} ms"
        )
    if spec.clip is not None:
        yield _whole("CLIP score", f"{spec.clip.base:.4f}", f"{spec.clip.found:.4f}")


def _whole(what: str, base: str, found: str) -> tuple[str, ...]:
    return ("whole", "", "", what, base, found)


def changes(spec: Spec) -> Iterator[str]:
    """One line for each block that was removed or repeated, and the parameters that are left."""
    architecture = spec.architecture()
    inventory = take_inventory(architecture.base, granularity=granularity_of(architecture))
    now = inventory.full()
    for block, count in architecture.changes:
        after = _with(now, architecture, block)
        before, left = (in_millions(inventory.parameters(each)) for each in (now, after))
        copies = "1 copy" if count == 2 else f"{count - 1} copies"
        verb = f"added {copies} behind" if count else "removed"
        path, index = block.module_path
        yield f"{verb} {path}.{index}, parameters {before} to {left}"
        now = after


def _with(now: Architecture, then: Architecture, block: BlockId) -> Architecture:
    """One architecture with a block, or all layers of one, as in another."""
    return now.with_multiplicities(
        {each: then[each] for each in then if block in (each, each.site)}
    )


def in_millions(parameters: int) -> str:
    """``859.5 M``; small UNets with more digits."""
    digits = 1 if parameters >= 10_000_000 else 3
    return f"{parameters / 1e6:,.{digits}f} M"


def conditions(spec: Spec) -> Iterator[str]:
    """What the figures hold for, in words: how scores were taken, which tables, what made it."""
    clip, made = spec.clip, spec.provenance
    if clip is not None:
        drawn = f"{clip.num_inference_steps} steps, guidance {clip.guidance_scale:g}"
        which = "" if clip.prompt_set is None else f" (set {clip.prompt_set})"
        yield (
            f"CLIP score: by {clip.judge}, on {clip.prompts} prompts{which}, {drawn}"
            + ("" if clip.precision is None else f", {clip.precision}")
        )
    for each in spec.latency:
        identity = "" if each.digest is None else f", SHA-256 {each.digest}"
        yield f"latency table {each.table}: {each.device}, {each.precision}{identity}"
    if made.experiment is not None:
        yield f"found by experiment '{made.experiment}', seed {made.seed}, evounet {made.evounet}"
    for file in made.weights:
        yield f"weights {file.file}: SHA-256 {file.sha256}"


def side_by_side_table(spec: Spec) -> Table:
    """:func:`side_by_side` for a terminal."""
    view = Table(box=box.SIMPLE, padding=(0, 1, 0, 0))
    for heading in HEADINGS:
        view.add_column(heading, justify="right" if heading in ("base", "found") else "left")
    whole = False
    for stage, *rest in side_by_side(spec):
        if stage == "whole" and not whole:
            view.add_section()
        view.add_row("" if stage == "whole" and whole else stage, *rest)
        whole = stage == "whole"
    return view
