"""Animations that begin with nothing: the first of their pictures that shows something."""

from __future__ import annotations

from PIL import Image, ImageFile

from engine.encoders.rgb import strips_of, to_rgb

ANIMATED = frozenset({"GIF", "PNG", "WEBP", "AVIF", "HEIF"})
MOST_FRAMES, MOST_PIXELS = 64, 1 << 28
"""So many pictures of an animation are looked at, and so many pixels in all of them."""

_NEARLY_ONE = 8


def first_shown(opened: ImageFile.ImageFile, first: Image.Image) -> Image.Image:
    """Return the first picture of an animation that is not of one colour; the very first if none is.

    Args:
        opened: the file, whose first picture is loaded.
        first: that, as RGB.
    """
    if opened.format not in ANIMATED or not is_blank(first):
        return first
    size = opened.size
    most = min(MOST_FRAMES, MOST_PIXELS // (size[0] * size[1]))
    try:
        for number in range(1, most):
            opened.seek(number)
            opened.load()
            if opened.size != size:
                break
            image = to_rgb(opened, lambda: strips_of(opened))
            if not is_blank(image):
                return image
    except Exception:  # there are no more, or what comes is broken, which decoders say as they like
        return first
    return first


def is_blank(image: Image.Image) -> bool:
    """Whether an RGB picture is of one colour, but for what a lossy format makes of it."""
    extrema: tuple[tuple[int, int], ...] = image.getextrema()  # type: ignore[assignment]  # of several bands
    return all(high - low <= _NEARLY_ONE for low, high in extrema)
