"""How a UNet is named and run: the argument and options of every command about one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from experiments.decoder.choice import ChosenDecoders
    from experiments.unets import ChosenUNet

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

AnyBatch = Annotated[
    int | None,
    typer.Option(min=1, help="pictures per pass; 2 (one under guidance), of a decoder 1"),
]
Decoder = Annotated[
    bool, typer.Option("--decoder", help="the pipeline's image decoder in place of the UNet")
]
Ratio = Annotated[
    list[str] | None,
    typer.Option(
        metavar="SHARE",
        help="with --decoder: also decoders with this share of the channels, 0.5 or one for "
        "every stage, 1,0.5,0.5,0.25; repeat it for others",
    ),
]
Tiny = Annotated[
    list[str] | None,
    typer.Option(
        metavar="WIDTH",
        help="with --decoder: also tiny decoders of so many channels, 32, or with the blocks of "
        "every stage, 32:3,3,3,1; repeat it for others",
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


def choose_model(
    name: str,
    batch: int | None,
    context_length: int | None,
    granularity: Literal["block", "transformer_layer"] | None,
    decoder: bool,
    ratio: list[str] | None,
    tiny: list[str] | None = None,
) -> ChosenUNet | ChosenDecoders:
    """What the options of a command mean: a UNet, or image decoders.

    Raises:
        ValueError: if there is no such model, or the options do not go together.
    """
    from experiments.decoder.choice import choose_decoders, parse_ratios, parse_tiny
    from experiments.unets import choose_unet

    if decoder:
        ratios = [parse_ratios(each) for each in ratio or []]
        return choose_decoders(name, ratios, batch or 1, [parse_tiny(each) for each in tiny or []])
    for option, given in (("--ratio", ratio), ("--tiny", tiny)):
        if given:
            raise ValueError(f"{option} is for --decoder: add it, or leave {option} out")
    return choose_unet(
        name, batch=batch or 2, context_length=context_length, granularity=granularity
    )
