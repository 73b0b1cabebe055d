"""What transparent pictures are laid over."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from engine.encoders import rgb
from engine.encoders.pictures import decode_picture
from tests.encoders.test_pictures import photo, saved

Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


def art(
    colour: tuple[int, ...], size: tuple[int, int] = (100, 80), nothing: tuple[int, ...] = (0, 0, 0, 0)
) -> Image.Image:
    image = Image.new("RGBA", size, nothing)
    ImageDraw.Draw(image).ellipse((size[0] // 5, size[1] // 5, size[0] * 3 // 5, size[1] * 3 // 5), colour)
    return image


def decoded(image: Image.Image, **options: object) -> Pixels:
    return np.asarray(decode_picture(saved(image, "PNG", **options)))


def on_white(image: Image.Image) -> Pixels:
    rgba = image.convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB"))


def grey_alpha(image: Image.Image) -> Image.Image:
    return image.convert("LA")


def palette(image: Image.Image) -> Image.Image:
    """White and nothing: in a palette, whose second entry lets the ground through."""
    found = image.getchannel("A").point(lambda a: int(a == 0)).convert("L")
    made = Image.frombytes("P", found.size, found.tobytes())
    made.putpalette([255, 255, 255, 255, 255, 255])
    return made


@pytest.mark.parametrize("level", [255, 245])
@pytest.mark.parametrize("nothing", [(0, 0, 0, 0), (255, 255, 255, 0)])
def test_white_art_lies_on_black(level: int, nothing: tuple[int, ...]) -> None:
    image = art((level, level, level, 255), nothing=nothing)
    for one in (image, grey_alpha(image)):
        out = decoded(one)
        assert (out[40, 40].tolist(), out[0, 0].tolist()) == ([level] * 3, [0, 0, 0])
    out = decoded(palette(image), transparency=1)
    assert (out[40, 40].tolist(), out[0, 0].tolist()) == ([255] * 3, [0, 0, 0])
    glass = decoded(art((255, 255, 255, 100)))
    assert (glass[40, 40].tolist(), glass[0, 0].tolist()) == ([100] * 3, [0, 0, 0])


def test_a_transparent_colour_beside_white() -> None:
    image = Image.new("RGB", (60, 60), (3, 2, 1))
    image.paste("white", (10, 10, 30, 30))
    out = decoded(image, transparency=(3, 2, 1))
    assert (out[20, 20].tolist(), out[0, 0].tolist()) == ([255] * 3, [0, 0, 0])


def shadowed() -> Image.Image:
    image = art((0, 0, 0, 90))
    ImageDraw.Draw(image).ellipse((18, 14, 58, 46), (255, 255, 255, 255))
    return image


def one_hole(colour: tuple[int, int, int]) -> Image.Image:
    image = Image.new("RGBA", (100, 80), (*colour, 255))
    image.putpixel((5, 5), (0, 0, 0, 0))
    return image


def page() -> Image.Image:
    image = Image.new("RGBA", (400, 400), (255, 255, 255, 255))
    draw = ImageDraw.Draw(image)
    for corner in ((0, 0, 60, 60), (340, 340, 400, 400)):
        draw.rectangle(corner, (0, 0, 0, 0))
    draw.line((100, 100, 300, 100), (0, 0, 0, 255))
    return image


@pytest.mark.parametrize(
    "image",
    [
        art((0, 0, 0, 255)),
        art((200, 30, 30, 255)),
        art((255, 255, 200, 255)),  # pale yellow
        art((225, 225, 225, 255)),  # light grey
        shadowed(),
        page(),  # thin lines on a page whose corners are cut off
        one_hole((255, 255, 255)),
        one_hole((9, 200, 9)),
        Image.new("RGBA", (50, 40), (255, 255, 255, 0)),
        Image.new("RGBA", (50, 40), (0, 0, 0, 0)),
        Image.new("RGBA", (50, 40), (255, 255, 255, 255)),
        art((0, 0, 0, 8)),  # so faint that it is seen on no ground
        photo((50, 40)).convert("RGBA"),
    ],
    ids=range(13),
)
def test_all_others_lie_on_white_as_ever(image: Image.Image) -> None:
    assert np.array_equal(decoded(image), on_white(image))


@pytest.mark.parametrize("colour", [(255, 255, 255, 255), (0, 0, 0, 255), (255, 255, 255, 120)])
def test_strips_make_no_difference(colour: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    image = art(colour, (203, 151))
    whole = decoded(image)
    monkeypatch.setattr(rgb, "STRIP_PIXELS", 203 * 7)
    assert np.array_equal(decoded(image), whole)
