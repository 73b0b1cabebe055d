"""Animations that begin with nothing."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from engine.encoders.frames import MOST_FRAMES
from engine.encoders.pictures import decode_picture, decode_sized
from tests.encoders.test_pictures import corners, near, quarters, saved

SIZE = (64, 64)
BLANK = {"one colour": Image.new("RGB", SIZE, (9, 90, 200)), "nothing": Image.new("RGBA", SIZE, (0, 0, 0, 0))}
FORMATS = ["GIF", "PNG", "WEBP", "AVIF"]


def animated(fmt: str, *frames: Image.Image) -> bytes:
    mode = "RGBA" if any(one.mode == "RGBA" for one in frames) else "RGB"
    made = [one.convert(mode) for one in frames]
    return saved(made[0], fmt, save_all=True, append_images=made[1:], duration=50)


@pytest.mark.parametrize("blank", BLANK)
@pytest.mark.parametrize("fmt", FORMATS)
def test_the_first_picture_that_shows_something(fmt: str, blank: str) -> None:
    other = Image.new("RGB", SIZE, (200, 200, 9))  # one colour too, another
    data = animated(fmt, BLANK[blank], other, corners(SIZE), corners(SIZE).transpose(Image.Transpose.ROTATE_180))
    found = decode_sized(data)
    assert (found.width, found.height) == SIZE
    assert quarters(found.image) == quarters(corners(SIZE))


@pytest.mark.parametrize("fmt", FORMATS)
def test_where_none_does_it_is_the_first(fmt: str) -> None:
    data = animated(fmt, *(Image.new("RGB", SIZE, colour) for colour in ((9, 90, 200), (200, 9, 9), (9, 9, 9))))
    assert near(decode_picture(data), (8, 8), (9, 90, 200), tolerance=8)


@pytest.mark.parametrize("fmt", [*FORMATS, "TIFF", "BMP", "HEIF", "JXL"])
def test_a_still_picture_of_one_colour_stays(fmt: str) -> None:
    assert near(decode_picture(saved(BLANK["one colour"], fmt)), (8, 8), (9, 90, 200), tolerance=8)


def test_pages_are_no_animation() -> None:
    data = saved(BLANK["one colour"], "TIFF", save_all=True, append_images=[corners(SIZE)])
    assert np.unique(np.asarray(decode_picture(data)).reshape(-1, 3), axis=0).tolist() == [[9, 90, 200]]


def test_an_animation_that_breaks_off_or_goes_on_and_on() -> None:
    blank, other = (Image.new("RGB", SIZE, colour) for colour in ((9, 90, 200), (200, 9, 9)))
    whole = animated("GIF", blank, other, corners(SIZE))
    assert near(decode_picture(whole[: len(whole) * 2 // 3]), (8, 8), (9, 90, 200))
    long = animated("GIF", *[blank, other] * (MOST_FRAMES // 2), corners(SIZE))
    assert near(decode_picture(long), (8, 8), (9, 90, 200))
