"""The architecture that is open: what it is, what it costs, and how to have it."""

from __future__ import annotations

import shlex
from importlib import metadata

from dash import html
from dash.development.base_component import Component

from experiments.dashboard.prices import table_choices
from experiments.dashboard.scene import Scene
from experiments.dashboard.views.view import opener, table
from experiments.report.look import KIND_LETTERS, signed
from supernet.architecture import SITE_KINDS, Architecture
from supernet.spec import ClipFigure, Provenance, Spec, TableFigure, build_spec


def opened_panel(scene: Scene) -> Component | None:
    """All about the architecture that is open; None if none is.

    Raises:
        ValueError: if there is none of that name.
    """
    architecture = scene.opened()
    if architecture is None:
        return None
    query = scene.address.query()
    return html.Section(
        [
            html.Div(
                [
                    html.H3(["Architecture ", html.Code(architecture.id)]),
                    opener("Close", ""),
                ],
                className="panel-head",
            ),
            html.P(_about(scene, architecture), className="lead"),
            _costs(scene, architecture),
            _changes(architecture),
            html.H4("Export this architecture"),
            html.P(
                [
                    html.A("spec.json", href=f"/spec.json{query}", download="spec.json"),
                    " says all about it but its weights. ",
                    _command_text(scene, architecture),
                ]
            ),
            html.Pre(html.Code(_command(scene, architecture)), tabIndex=0),
        ],
        className="panel",
        **{"aria-label": "The architecture that is open"},
    )


def spec_of(scene: Scene) -> Spec:
    """The spec of the architecture that is open, with the score that the search gave it.

    Raises:
        ValueError: if none is open.
    """
    architecture = scene.opened()
    if architecture is None:
        raise ValueError("no architecture is open: click on one in the picture first")
    run = scene.run
    costs = []
    for name in run.tables:
        latency = scene.library.prices.priced(run, name).latency
        about, base = latency.table.metadata, run.inventory.full()
        costs.append(
            TableFigure(
                table=about.name,
                digest=latency.table.digest,
                device=about.device,
                precision=about.precision,
                base_ms=latency(base),
                found_ms=latency(architecture),
            )
        )
    clip, weights = _score(scene, architecture)
    provenance = Provenance(
        experiment=run.settings["name"],
        seed=run.seed,
        evounet=metadata.version("evounet"),
        weights=(),  # the search keeps no file of this UNet's alone
        tensors=weights,
    )
    return build_spec(run.inventory, architecture, tuple(costs), clip, provenance)


def _score(scene: Scene, architecture: Architecture) -> tuple[ClipFigure | None, str | None]:
    """Its last score beside the base's with the same weights, and these; None if not both are."""
    run = scene.run
    scores = [each for each in run.evaluations if each.architecture == architecture.id]
    if not scores:
        return None, None
    last, base = scores[-1], run.inventory.full().id
    bases = [
        each
        for each in run.evaluations
        if (each.architecture, each.weights, each.prompts) == (base, last.weights, last.prompts)
    ]
    if not bases:
        return None, last.weights
    evaluation = run.settings["evaluation"]
    sampling = evaluation["sampling"]
    figure = ClipFigure(
        base=bases[-1].clip,
        found=last.clip,
        prompts=last.prompts,
        num_inference_steps=sampling["num_inference_steps"],
        guidance_scale=sampling["guidance_scale"],
        judge=evaluation["scorer"].get("name", evaluation["scorer"]["kind"]),
    )
    return figure, last.weights


def _about(scene: Scene, architecture: Architecture) -> str:
    scores = [e for e in scene.run.evaluations if e.architecture == architecture.id]
    text = f"'{scene.address.open}' of run {scene.name}"
    rated = "; ".join(
        f"CLIP {each.clip:.4f} on {each.prompts} prompts in round {each.round}" for each in scores
    )
    return f"{text}: {rated}." if rated else f"{text}: not scored on its own."


def _costs(scene: Scene, architecture: Architecture) -> Component:
    run, base = scene.run, scene.run.inventory.full()
    rows = []
    for name in table_choices(run):
        latency = scene.library.prices.priced(run, name).latency
        rows.append(_cost(f"latency by {name} (ms)", latency(base), latency(architecture), 2))
    before, here = (1e-6 * run.inventory.parameters(each) for each in (base, architecture))
    rows.append(_cost("parameters (M)", before, here, 3))
    return table("What it costs", ("", "base", "this one", "change"), rows)


def _cost(name: str, base: float, here: float, digits: int) -> tuple[str, ...]:
    change = f"{signed(100 * (here / base - 1), 1)} %"
    return name, f"{base:.{digits}f}", f"{here:.{digits}f}", change


def _changes(architecture: Architecture) -> Component:
    """Removed and added blocks, each with the letter and colour of its kind."""
    if not architecture.changes:
        return html.P("It is the base: every block runs once.")
    items = [
        html.Li(
            [
                html.I(KIND_LETTERS[block.site.kind], className=f"kind {block.site.kind}"),
                f" {block.stage}/{block.index}",
                "" if block.layer is None else f".{block.layer}",
                " removed" if count == 0 else f" ×{count}",
            ]
        )
        for kind in SITE_KINDS
        for block, count in architecture.changes
        if block.site.kind == kind
    ]
    return html.Ul(items, className="changes", **{"aria-label": "Blocks that differ from the base"})


def _command(scene: Scene, architecture: Architecture) -> str:
    run = scene.run
    folder = shlex.quote(str(run.folder.path))
    if run.result is None:
        return f"evounet resume {folder}"
    if run.decisions and architecture == run.decisions[-1].after:
        return f"evounet export {folder} --format diffusers --out found-unet"
    for number, point in enumerate(run.front, start=1):
        if architecture == point.architecture:
            return f"evounet export {folder} --point {number} --out found-unet"
    return "evounet analyze spec.json"


def _command_text(scene: Scene, architecture: Architecture) -> str:
    command = _command(scene, architecture)
    if command.startswith("evounet export"):
        return "This command hands out its UNet as a diffusers folder:"
    if command.startswith("evounet resume"):
        return "Its search has not ended; this continues it, and what is found can be exported:"
    return (
        "The run keeps weights of its front and of what it found alone; this tells where this "
        "one's time goes:"
    )
