"""``evounet train base``, ``evounet train supernet`` and ``evounet train cache``."""

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
    from experiments.console import open_console
    from experiments.experiment import resolve
    from experiments.shapes.base import BaseModels, parse_stages
    from experiments.shapes.base_training import BaseTraining

    chosen = parse_stages(stages)
    settings = resolve(BaseTraining, BaseTraining().model_dump(), set_ or [], "train base")
    BaseModels(out, settings, seed, open_console()).train(chosen)
    typer.echo(f"models: {out}")


@app.command()
def supernet(
    out: Annotated[Path, typer.Option(help="safetensors file for the weights")],
    pipeline: Annotated[
        str, typer.Option(help="a pipeline: 'shapes', a folder or a Hugging Face id")
    ] = "shapes",
    data: Annotated[
        str, typer.Option(help="captioned pictures or a cache of them (docs/training_data.md)")
    ] = "shapes",
    start: Annotated[
        str | None,
        typer.Option(help="go on from these weights of it: 'shapes' or a safetensors file"),
    ] = None,
    seed: Seed = 0,
    address: Annotated[str | None, typer.Option(help="of a Ray cluster; local by default")] = None,
    set_: Overrides = None,
) -> None:
    """Train a UNet so that it survives the loss of any block (robust training).

    Interrupted, it goes on where it was when called again. With --set workers=4, or --set
    use_gpu=true, workers of Ray share the training.

    Example: evounet train supernet --pipeline runs/models/pipeline --out supernet.safetensors
    """
    from contextlib import nullcontext

    from evaluators.pipelines import load_pipeline
    from evaluators.ray_session import ray_session
    from experiments.console import open_console
    from experiments.experiment import resolve
    from experiments.models import pipeline_source, supernet_weights
    from experiments.progress import track
    from experiments.sections import SupernetTraining
    from experiments.training import load_unet_weights, open_trainer, train_supernet

    defaults = SupernetTraining(data=data).model_dump()
    settings = resolve(SupernetTraining, defaults, set_ or [], "train supernet")
    if address is not None and not settings.on_ray:
        raise ValueError(
            "--address: without workers of Ray, training is done in this process; "
            "add --set workers=N or --set use_gpu=true"
        )
    source = pipeline_source(pipeline)
    unet = load_pipeline(source).unet
    weights = load_unet_weights(supernet_weights(start), unet) if start else None
    trainer = open_trainer(source, settings, seed, settings)
    with (
        ray_session(settings.workers, address) if settings.on_ray else nullcontext(),
        track(open_console(), "robust training", settings.training.steps) as on_progress,
    ):
        train_supernet(trainer, unet, settings, seed, out, on_progress, weights)
    typer.echo(f"weights: {out}")


@app.command()
def cache(
    data: Annotated[str, typer.Option(help="captioned pictures (docs/training_data.md)")],
    out: Annotated[Path, typer.Option(help="folder for the cache")],
    pipeline: Annotated[
        str, typer.Option(help="encodes: a folder or a Hugging Face id, or 'shapes'")
    ] = "shapes",
    set_: Overrides = None,
) -> None:
    """Encode training data once: latents and hidden states, in the place of the pictures.

    Interrupted, it goes on where it was when called again.

    Example: evounet train cache --pipeline my-model --data 'shards/{000..127}.tar' --out cache
    """
    import torch

    from evaluators.evaluator import load_pipeline
    from experiments.console import open_console
    from experiments.data.cache_writer import CacheSettings, CacheWriter
    from experiments.data.encoder import PipelineEncoder
    from experiments.data.opening import open_source
    from experiments.experiment import resolve
    from experiments.models import pipeline_source
    from experiments.progress import track

    settings = resolve(CacheSettings, CacheSettings().model_dump(), set_ or [], "train cache")
    source = open_source(data, settings.reading)
    loaded = load_pipeline(pipeline_source(pipeline))
    loaded.to("cuda" if torch.cuda.is_available() else "cpu")
    console = open_console()
    writer = CacheWriter(out, pipeline, PipelineEncoder(loaded), data, source, settings)
    if writer.index.pictures:
        console.print(f"{writer.index.pictures} pictures are encoded already")
    with track(console, "encoding", writer.left) as on_progress:
        writer.write(on_progress)
    index = writer.index
    typer.echo(f"cache: {out} ({index.pictures} pictures, {index.captions} captions)")
