"""Raw files of cameras: the largest preview that the camera put into them, which is what it would have shown.

Nearly all of them hold JPEGs of several sizes: a thumbnail, one for the display, often one of every pixel. Where they
lie is written in another way by each maker, so the file is searched for what begins like a JPEG, and what its header
says of its size decides; a stretch that is sensor data by the file's own tags is left out, because there each tile may
be a JPEG. Sensor data themselves are developed by rawpy (LibRaw), if that is installed and no preview is large enough.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import NamedTuple

from PIL import Image

from engine.encoders.tiff_tags import Directory, directories
from indexers.errors import PictureError

LEAST_SIDE = 256
"""A preview whose shorter side is smaller is a thumbnail, and not taken for the picture."""

# Photometric interpretations and compressions that only sensor data have.
_SENSOR, _SENSOR_PACKED = frozenset({32803, 34892}), frozenset({32767, 32769, 32770, 34713, 65000, 65024, 65535})
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION, _JPEG = 256, 257, 258, 259, 262, 274, 513
_SUBFILE, _DNG_VERSION, _CR2 = 254, 50706, b"CR"
_STRIPS, _TILES, _RGB, _PLAIN = (273, 279), (324, 325), 2, frozenset({1, 5, 8})
MAGIC = (b"IIU\0", b"IIRO", b"IIRS", b"MMOR", b"FUJIFILMCCD-RAW", b"FOVb", b"\0MRM")
_MOST_TRIED, _MOST_HEADERS = 4, 20_000
_START = re.compile(rb"\xff\xd8\xff[\xc0-\xfe]")
_MARKER = re.compile(rb"\xff+([\xc0-\xfe])")
_FRAMES = frozenset({0xC0, 0xC1, 0xC2})


class Preview(NamedTuple):
    """A picture that lies in a raw file.

    Attributes:
        pixels: how many it has.
        size: width and height.
        start: where it begins: a JPEG file, or the directory of a TIFF.
        tiff: whether it is such a directory.
    """

    pixels: int
    size: tuple[int, int]
    start: int
    tiff: bool = False

    def file(self, data: bytes) -> bytes:
        """Return it as a file of its own, out of the raw file that it lies in."""
        if self.tiff:  # the same file, which begins with another of its directories
            return data[:4] + self.start.to_bytes(4, "little" if data[:2] == b"II" else "big") + data[8:]
        # It goes on to the end of the raw file: a decoder stops where it ends. Minolta writes another first byte.
        return b"\xff" + data[self.start + 1 :]


def is_raw(data: bytes) -> bool:
    """Whether a file is a camera's raw file, by its first bytes or its tags."""
    if is_raw_by_magic(data[:32]):
        return True
    if data[:4] not in (b"II*\0", b"MM\0*"):
        return False
    if data[8:10] == _CR2 or data[8:12] in (b"IIII", b"MMMM"):
        return True
    found = list(directories(data))
    return any(_holds_sensor_data(one) or _DNG_VERSION in one.tags for one in found) or _is_reduced(data, found)


def is_raw_by_magic(head: bytes) -> bool:
    """Whether a file that is no TIFF begins as a raw file does."""
    if head[4:8] == b"ftyp":
        return head[8:12] == b"crx "
    return head.startswith(MAGIC) or head[6:14] == b"HEAPCCDR"


def previews(data: bytes) -> list[Preview]:
    """Return the pictures in a raw file, the largest first; thumbnails are not among them."""
    hidden = list(_sensor_data(data))
    jpegs = (one for one in _jpegs(data) if not any(first <= one[0] < stop for first, stop in hidden))
    found = [Preview(size[0] * size[1], size, start) for start, size in jpegs if min(size) >= LEAST_SIDE]
    for one in directories(data):
        size = one.one(_WIDTH) or 0, one.one(_HEIGHT) or 0
        plain = one.one(_PHOTOMETRIC) == _RGB and one.one(_COMPRESSION) in _PLAIN and one.one(_BITS) == 8
        if plain and min(size) >= LEAST_SIDE:
            found.append(Preview(size[0] * size[1], size, one.start, tiff=True))
    return sorted(found, key=lambda one: (-one.pixels, one.start))[:_MOST_TRIED]


def orientation_of(data: bytes) -> int:
    """Return how the picture of a raw file stands, 1 to 8, by its first directory of tags."""
    at = 0
    if data[4:8] == b"ftyp":
        at = data.find(b"CMT1", 0, 1 << 16) + 4  # Canon's box that is a small TIFF file
    elif data[:4] == b"\0MRM":
        at = data.find(b"\0TTW", 0, 1 << 16) + 8
    first = next(directories(data[at : at + (1 << 20)] if at else data), None)
    value = first.one(_ORIENTATION) if first is not None else None
    return value if value in range(1, 9) else 1  # type: ignore[return-value]


def developed(data: bytes, max_pixels: int) -> Image.Image:
    """Return what rawpy makes of the sensor data, RGB, upright, at half their size.

    Raises:
        PictureError: it is not installed, or cannot read them.
    """
    try:
        import rawpy
    except ImportError as error:
        raise PictureError(
            f"raw file without a preview of at least {LEAST_SIDE} pixels each way needs rawpy; install that, or "
            "convert the file to JPEG or PNG"
        ) from error
    with rawpy.imread(io.BytesIO(data)) as opened:
        width, height = opened.sizes.raw_width, opened.sizes.raw_height
        if width * height > max_pixels:
            found = f"{width}×{height} pixels"
            raise PictureError(f"{found} are more than the limit of {max_pixels}; --max-pixels takes a higher one")
        return Image.fromarray(opened.postprocess(use_camera_wb=True, half_size=True, output_bps=8))


def _holds_sensor_data(one: Directory) -> bool:
    return one.one(_PHOTOMETRIC) in _SENSOR or one.one(_COMPRESSION) in _SENSOR_PACKED


def _is_reduced(data: bytes, found: list[Directory]) -> bool:
    """Whether the first picture is none, or a small copy of another by what it says, and a preview lies beside it."""
    if not found:
        return False
    first = found[0]
    small = len(found) > 1 and (first.one(_SUBFILE) or 0) & 1 == 1
    none = _JPEG in first.tags and not {_STRIPS[0], _TILES[0]} & first.tags.keys()
    return (small or none) and bool(previews(data))


def _sensor_data(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the stretches of a file that are sensor data by its own tags."""
    for one in directories(data):
        tiled = _TILES[0] in one.tags
        if tiled or _holds_sensor_data(one):
            starts, sizes = (one.tags.get(tag, ()) for tag in (_TILES if tiled else _STRIPS))
            if starts:
                yield min(starts), max(start + size for start, size in zip(starts, sizes or starts, strict=False))


def _jpegs(data: bytes) -> Iterator[tuple[int, tuple[int, int]]]:
    """Yield where a JPEG that can be decoded begins, and its size."""
    pattern = re.compile(rb"[\x00-\xff]\xd8\xff[\xc0-\xfe]") if data[:4] == b"\0MRM" else _START
    for number, match in enumerate(pattern.finditer(data)):
        if number == _MOST_HEADERS:
            return
        if (size := _jpeg_size(data, match.start() + 2)) is not None:
            yield match.start(), size


def _jpeg_size(data: bytes, at: int) -> tuple[int, int] | None:
    """Return the size that the header of a JPEG says, from behind its first marker; None where it cannot be decoded."""
    for _ in range(200):
        match = _MARKER.match(data, at)
        if match is None:
            return None
        code, body = match[1][0], match.end()
        if code in _FRAMES:
            height, width = (int.from_bytes(data[body + n : body + n + 2], "big") for n in (3, 5))
            return (width, height) if data[body + 2 : body + 3] == b"\x08" else None
        at = body + int.from_bytes(data[body : body + 2], "big")
        if code == 0xDA or (0xC0 < code <= 0xCF and code not in (0xC4, 0xCC)):
            return None  # pixels come before their size, or they are lossless: sensor data
    return None
