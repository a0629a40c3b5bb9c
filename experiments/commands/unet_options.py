"""How a UNet is named and run: the argument and options of every command about one."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

UNet = Annotated[
    str,
    typer.Argument(
        metavar="UNET",
        help="shapes, sd15, sd21, sdxl, a config.json or spec.json, the folder of a UNet, "
        "pipeline or run, or a Hugging Face id",
    ),
]
Batch = Annotated[int, typer.Option(min=1, help="pictures per pass; 2 is one under guidance")]
ContextLength = Annotated[
    int | None,
    typer.Option(min=1, help="tokens of a prompt; by default what the UNet's tokenizer takes"),
]

Granularity = Annotated[
    Literal["block", "transformer_layer"] | None,
    typer.Option(
        "--granularity",
        help="what may be removed: cross-attention blocks (by default), or their layers one by one",
    ),
]


def one_unet(argument: str | None, option: str | None) -> str:
    """The UNet that was given as an argument or as an option.

    Raises:
        ValueError: if there is none, or both.
    """
    if (argument is None) == (option is None):
        raise ValueError("give one UNet: as the argument or with --unet")
    return str(argument or option)
