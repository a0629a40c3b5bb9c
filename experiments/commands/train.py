"""``evounet train base`` and ``evounet train supernet``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.commands.options import Overrides, Seed

app = typer.Typer(no_args_is_help=True, help="Train the models of the shapes world, or a supernet.")


@app.command()
def base(
    out: Annotated[Path, typer.Option(help="folder for the models")],
    seed: Seed = 0,
    stages: Annotated[
        str, typer.Option(help="comma-separated: autoencoder, decoder, judge, text, unet")
    ] = "autoencoder,decoder,judge,text,unet",
    set_: Overrides = None,
) -> None:
    """Train every model of the shapes world from nothing: autoencoder, judge, text encoder, UNet.

    Interrupted, it goes on where it was when called again.

    Example: evounet train base --out runs/models --set unet.steps=500
    """
    from rich.console import Console

    from experiments.experiment import resolve
    from experiments.shapes.base import BaseModels, BaseTraining, parse_stages

    chosen = parse_stages(stages)
    settings = resolve(BaseTraining, BaseTraining().model_dump(), set_ or [], "train base")
    BaseModels(out, settings, seed, Console()).train(chosen)
    typer.echo(f"models: {out}")


@app.command()
def supernet(
    out: Annotated[Path, typer.Option(help="safetensors file for the weights")],
    pipeline: Annotated[
        str, typer.Option(help="a pipeline of the shapes world: 'shapes' or a folder")
    ] = "shapes",
    start: Annotated[
        str | None,
        typer.Option(help="go on from these weights of it: 'shapes' or a safetensors file"),
    ] = None,
    seed: Seed = 0,
    set_: Overrides = None,
) -> None:
    """Train a UNet so that it survives the loss of any block (robust training).

    Interrupted, it goes on where it was when called again.

    Example: evounet train supernet --pipeline runs/models/pipeline --out supernet.safetensors
    """
    from rich.console import Console

    from evaluators.pipelines import load_pipeline
    from experiments.experiment import resolve
    from experiments.models import pipeline_source, supernet_weights
    from experiments.progress import track
    from experiments.training import SupernetTraining, load_unet_weights, train_supernet

    defaults = SupernetTraining().model_dump()
    settings = resolve(SupernetTraining, defaults, set_ or [], "train supernet")
    loaded = load_pipeline(pipeline_source(pipeline))
    weights = load_unet_weights(supernet_weights(start), loaded.unet) if start else None
    with track(Console(), "robust training", settings.training.steps) as on_progress:
        train_supernet(loaded, settings, seed, out, on_progress, weights)
    typer.echo(f"weights: {out}")
