"""From decoded pixels of any mode to RGB, some rows at a time, so that no second copy of a picture is held."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from PIL import Image

from engine.encoders.deep import depth_of
from engine.encoders.ground import Grounds

STRIP_PIXELS = 1 << 20

Strips = Callable[[], Iterable[Image.Image]]


def strips_of(image: Image.Image, factor: int = 1) -> Iterator[Image.Image]:
    """Yield the rows of a picture from the top, a multiple of `factor` rows at a time."""
    rows = strip_rows(image.width, factor)
    if rows >= image.height:
        yield image
        return
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height)))


def strip_rows(width: int, factor: int) -> int:
    """Return how many rows are worked on at a time."""
    return max(1, STRIP_PIXELS // (width * factor)) * factor


def to_rgb(image: Image.Image, strips: Strips, factor: int = 1) -> Image.Image:
    """Return a picture as RGB of 8 bits, laid over a ground where it is transparent.

    Args:
        image: what was opened.
        strips: returns its rows, each time from the top, as `strips_of` does.
        factor: so many pixels each way become one, their mean.
    """
    size = -(-image.width // factor), -(-image.height // factor)
    white, black = _Sheet(size, factor), _Sheet(size, factor)
    depth = depth_of(image, strips)
    if depth is not None or not image.has_transparency_data:
        for strip in strips():
            white.add(strip.convert("RGB") if depth is None else depth.levels(strip))
        return white.image
    grounds = Grounds(image.width * image.height)
    for strip in strips():
        on_white, on_black = grounds.laid(strip.convert("RGBA"))
        white.add(on_white)
        if on_black is not None:
            black.add(on_black)
    return black.image if grounds.vanishes else white.image


class _Sheet:
    """An RGB picture that comes in strips, from the top."""

    def __init__(self, size: tuple[int, int], factor: int) -> None:
        self._size, self._factor, self._top = size, factor, 0
        self.image = Image.new("RGB", (0, 0))

    def add(self, strip: Image.Image) -> None:
        reduced = strip if self._factor == 1 else strip.reduce(self._factor)
        if reduced.size == self._size:
            self.image = reduced
            return
        if not self._top:
            self.image = Image.new("RGB", self._size)
        self.image.paste(reduced, (0, self._top))
        self._top += reduced.height
