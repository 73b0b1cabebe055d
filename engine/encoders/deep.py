"""Pictures of more than eight bits a number, or of signed ones: which values become black and white.

Pillow's convert() would clip them, and of some TIFF files it makes other pixels without a word; those are refused here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from indexers.errors import PictureError

# Tags of TIFF 6.0.
BITS, COMPRESSION, PHOTOMETRIC, STRIPS, PLANAR, TILES, FORMAT = 258, 259, 262, 279, 284, 325, 339
MIN_IS_WHITE, UNCOMPRESSED, SEPARATE, SIGNED, FLOAT = 0, 1, 2, 2, 3


def check_tiff(image: Image.Image) -> None:
    """Refuse a TIFF file of which Pillow would make other pixels.

    Raises:
        PictureError: says what it is.
    """
    bits, tags = _bits(image), _tags(image)
    raw = tags.get(COMPRESSION, UNCOMPRESSED) == UNCOMPRESSED
    if tags.get(PLANAR) == SEPARATE and bits > 8 and raw:
        raise PictureError(f"TIFF with {bits} bits a number in a plane for each colour is not read; convert it")
    kind = _kind(image)
    if image.mode in ("I", "F") and not raw and getattr(tags, "prefix", b"II") == b"MM":
        raise PictureError(f"TIFF with {kind} of {bits} bits, big-endian and compressed, is not read; convert it")
    if 8 < bits < 16 and raw:
        stored = sum(tags.get(STRIPS) or tags.get(TILES) or ())
        if stored >= 2 * image.width * image.height:
            raise PictureError(f"TIFF that says {bits} bits a number and has 16 is not read; convert it")


def is_signed(image: Image.Image) -> bool:
    """Whether a picture is a TIFF file whose numbers are signed."""
    return image.format == "TIFF" and _one(_tags(image).get(FORMAT, 1)) == SIGNED


@dataclass(frozen=True)
class Depth:
    """How numbers of one channel become levels.

    Attributes:
        dtype: which they are, where Pillow takes them for others.
        low: what becomes black.
        high: what becomes white.
        turned: whether black and white change places.
    """

    dtype: type[np.generic] | None
    low: float
    high: float
    turned: bool

    def levels(self, image: Image.Image) -> Image.Image:
        """Return a picture, or a part of it, as RGB of 8 bits."""
        scaled = np.clip((_values(image, self.dtype) - self.low) * (255.0 / (self.high - self.low)), 0.0, 255.0)
        if self.turned:
            scaled = 255.0 - scaled
        return Image.fromarray(np.rint(scaled).astype(np.uint8)).convert("RGB")


def depth_of(image: Image.Image, strips: Callable[[], Iterable[Image.Image]]) -> Depth | None:
    """Return how one channel of more than 8 bits, or of signed numbers, is scaled to 8; None where that is not so.

    Args:
        image: what was opened; its tags count.
        strips: returns its rows, some at a time; they are looked through where nothing says what the range is.
    """
    if not (image.mode.startswith("I;16") or image.mode in ("I", "F") or (image.mode == "L" and is_signed(image))):
        return None
    dtype: type[np.generic] | None = None
    if image.format == "TIFF" and image.mode == "I" and _bits(image) == 32 and not is_signed(image):
        dtype = np.uint32  # which Pillow takes for signed
    elif is_signed(image) and image.mode == "L":
        dtype = np.int8
    low, high = _range(image, (_values(strip, dtype) for strip in strips()))
    return Depth(dtype, low, high, image.format == "TIFF" and _tags(image).get(PHOTOMETRIC) == MIN_IS_WHITE)


def _values(image: Image.Image, dtype: type[np.generic] | None) -> NDArray[np.float32]:
    stored = np.asarray(image)
    values: NDArray[np.float32] = (stored if dtype is None else stored.view(dtype)).astype(np.float32)
    return values


def _range(image: Image.Image, values: Iterable[NDArray[np.float32]]) -> tuple[float, float]:
    """Return the values that become black and white.

    Formats that define their range keep it; of signed numbers it is that of the positive ones, if there are no others.
    A 32-bit TIFF and a float picture have none: 0 to 1, 0 to 255 and 0 to 65535 are taken as meant where the values
    fit, anything else is stretched.
    """
    if image.mode.startswith("I;16"):
        return 0.0, float(2 ** _bits(image) - 1)
    if image.mode == "I" and image.format in ("PNG", "PPM"):
        return 0.0, 65535.0
    ends = np.array([(part.min(), part.max()) for part in values])
    low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
    if not np.isfinite(low) or not np.isfinite(high):
        raise PictureError("the picture has NaN or infinite pixel values")
    if is_signed(image) and (bits := _bits(image)) <= 16:
        top = float(2 ** (bits - 1))
        return (0.0 if low >= 0 else -top), top - 1
    usual = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
    for top in usual:
        if low >= 0 and high <= top:
            return 0.0, top
    return low, high if high > low else low + 1.0


def _tags(image: Image.Image) -> Any:
    return getattr(image, "tag_v2", {})


def _one(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) and value else value


def _kind(image: Image.Image) -> str:
    return {SIGNED: "signed numbers", FLOAT: "floats"}.get(_one(_tags(image).get(FORMAT, 1)), "numbers")


def _bits(image: Image.Image) -> int:
    """Return the bits of a number: 16, unless a TIFF says otherwise (12 is common)."""
    bits = _one(_tags(image).get(BITS, (16,)))
    return bits if isinstance(bits, int) and 0 < bits <= 64 else 16
