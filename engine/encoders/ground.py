"""What transparent pictures are laid over: white, unless what is visible would vanish on it.

A white logo on nothing would become a blank page on white. The rule: where less than a thousandth of what is visible
stands out from white by more than 16 of 255 levels, something stands out from black, and at least a hundredth of the
picture lets the ground through, the ground is black. Everything else lies over white: what has any dark part, what is
opaque but for a corner, and what is transparent all over.
"""

from __future__ import annotations

from PIL import Image

WHITE, BLACK = (255, 255, 255, 255), (0, 0, 0, 255)
STANDS_OUT, LEAST_SEEN, LEAST_GROUND = 16, 0.001, 0.01


def over(image: Image.Image, ground: tuple[int, int, int, int]) -> Image.Image:
    """Lay an RGBA picture over one colour: RGB."""
    return Image.alpha_composite(Image.new("RGBA", image.size, ground), image).convert("RGB")


class Grounds:
    """What is seen of a picture on white and on black, strip by strip.

    Args:
        pixels: of the whole picture.
    """

    def __init__(self, pixels: int) -> None:
        self._pixels = pixels
        self._visible = 0.0
        self._on_white = self._on_black = 0

    def laid(self, strip: Image.Image) -> tuple[Image.Image, Image.Image | None]:
        """Return an RGBA strip over white, and over black as long as that may still be what is wanted."""
        white, alpha = over(strip, WHITE), strip.getchannel("A").histogram()
        self._visible += sum(level * count for level, count in enumerate(alpha)) / 255
        self._on_white += _most(white, 0, 255 - STANDS_OUT)
        if self._on_white >= LEAST_SEEN * self._pixels or self._visible > (1 - LEAST_GROUND) * self._pixels:
            return white, None
        black = over(strip, BLACK)
        self._on_black += _most(black, STANDS_OUT + 1, 256)
        return white, black

    @property
    def vanishes(self) -> bool:
        """Whether the strips that were laid down are to lie over black."""
        return (
            self._on_white < LEAST_SEEN * self._visible <= (1 - LEAST_GROUND) * LEAST_SEEN * self._pixels
            and self._on_black > 0
        )


def _most(image: Image.Image, low: int, high: int) -> int:
    """Return how many pixels of RGB are from one level up to another in one channel, that where there are most."""
    counts = image.histogram()
    return max(sum(counts[start + low : start + high]) for start in (0, 256, 512))
