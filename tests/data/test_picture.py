"""Whatever a picture file holds becomes upright RGB, or is refused by name."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from experiments.data.picture import decode
from experiments.data.source import CaptionedPicture, DataError


def decoded(image: Image.Image, file_format: str = "PNG", **options: object) -> Image.Image:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return decode(CaptionedPicture("a picture", file.getvalue(), ("",)))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    image = decoded(Image.new("RGB", (3, 2), "white").convert(mode))
    assert (image.mode, image.size, image.getpixel((1, 1))) == ("RGB", (3, 2), (255, 255, 255))


def test_cmyk_and_sixteen_bits_of_grey_keep_their_brightness() -> None:
    grey = Image.new("RGB", (8, 8), (100, 100, 100)).convert("CMYK")
    assert np.allclose(decoded(grey, "JPEG", quality=95).getpixel((4, 4)), 100, atol=8)
    deep = Image.fromarray(np.full((4, 4), 100 * 256, dtype=np.uint16))
    assert decoded(deep).getpixel((1, 1)) == (100, 100, 100)


def test_what_is_transparent_becomes_white() -> None:
    hole = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    hole.putpixel((1, 0), (0, 0, 0, 0))
    image = decoded(hole)
    assert [image.getpixel((x, 0)) for x in range(2)] == [(255, 0, 0), (255, 255, 255)]
    palette = Image.new("P", (1, 1), 0)
    palette.putpalette([0, 0, 255])
    assert decoded(palette, transparency=0).getpixel((0, 0)) == (255, 255, 255)


def test_a_camera_that_was_held_upright_gives_an_upright_picture() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it clockwise by 90 degrees
    stored = Image.new("RGB", (3, 2), "black")
    stored.putpixel((0, 0), (255, 255, 255))
    image = decoded(stored, exif=exif)
    assert image.size == (2, 3)
    assert image.getpixel((1, 0)) == (255, 255, 255)


def test_a_picture_that_cannot_be_read_is_named() -> None:
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "JPEG")
    for content in (b"", b"no picture", file.getvalue()[:-500]):
        with pytest.raises(DataError, match=r"^shard 3, row 9: cannot be read as a picture"):
            decode(CaptionedPicture("shard 3, row 9", content, ("",)))
