"""From the bytes of a picture file to pixels."""

from __future__ import annotations

import io

from PIL import Image, ImageOps

from experiments.data.source import CaptionedPicture, DataError


def decode(picture: CaptionedPicture) -> Image.Image:
    """An RGB picture, upright as its EXIF data say; what is transparent becomes white.

    Raises:
        DataError: naming the picture, if it cannot be read.
    """
    try:
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(picture.encoded)))
        if not image.has_transparency_data:
            return _deep(image).convert("RGB")
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{picture.name}: cannot be read as a picture ({error}); replace it or take it away"
        ) from error


def _deep(image: Image.Image) -> Image.Image:
    """Sixteen bits of grey as eight: Pillow itself would clip them."""
    if image.mode.startswith("I;16"):
        return image.point(lambda value: value / 256, "L")
    return image
