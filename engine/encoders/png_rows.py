"""The rows of a very large PNG, some at a time: Pillow would hold all of them, and four bytes for each three."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from PIL import Image, ImageFile

from engine.encoders.formats import PNG
from engine.encoders.rgb import Strips, strip_rows
from indexers.errors import PictureError

PIECE = 1 << 16
# What Pillow unpacks a whole pixel of some bytes as, byte for byte: a row's filter counts in pixels.
_AS_BYTES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def png_rows(opened: ImageFile.ImageFile, data: bytes, factor: int) -> Strips | None:
    """Return what gives the rows of a PNG, as `rgb.strips_of` does; None where it is interlaced, or has deep colours.

    Args:
        opened: the picture, of which no pixel is loaded yet.
        data: its file.
        factor: the strips have a multiple of so many rows.
    """
    depth, colours, interlaced = data[24], data[25], data[28]
    pixel = max(1, depth * _CHANNELS.get(colours, 0) // 8)
    if interlaced or pixel not in _AS_BYTES or not opened.tile:
        return None
    width = -(-opened.width * depth * _CHANNELS[colours] // 8)
    return lambda: _strips(opened, data, pixel, width, factor)


def _strips(opened: ImageFile.ImageFile, data: bytes, pixel: int, width: int, factor: int) -> Iterator[Image.Image]:
    """Yield strips whose rows are of `width` bytes, `pixel` bytes each pixel."""
    rows, rawmode = strip_rows(opened.width, factor), str(opened.tile[0][3])
    before, pending = bytes(width), _unpacked(data, width + 1, opened.height, rows)
    for filtered in pending:
        count = len(filtered) // (width + 1)
        # The row above goes with them, as one that is not filtered: then they are a picture of their own.
        packed = zlib.compress(b"\0" + before + filtered, 0)
        plain = Image.frombytes(_AS_BYTES[pixel], (width // pixel, count + 1), packed, "zip", _AS_BYTES[pixel], 0)
        raw = plain.tobytes()
        before = raw[-width:]
        strip = Image.frombytes(opened.mode, (opened.width, count), raw[width:], "raw", rawmode)
        if opened.palette is not None:
            strip.putpalette(opened.palette.palette, opened.palette.mode)
        if "transparency" in opened.info:
            strip.info["transparency"] = opened.info["transparency"]
        yield strip


def _unpacked(data: bytes, width: int, height: int, rows: int) -> Iterator[bytes]:
    """Yield the filtered rows of a PNG, `rows` at a time, of `width` bytes with their filter."""
    unpacker, held, left = zlib.decompressobj(), bytearray(), height
    for piece in _pieces(data):
        while left and (piece or unpacker.unconsumed_tail):
            want = min(rows, left) * width
            held += unpacker.decompress(piece, want - len(held))
            piece = unpacker.unconsumed_tail
            if len(held) == want:
                left -= want // width
                yield bytes(held)
                held.clear()
            elif not piece:
                break
    if left:
        there = height - left + len(held) // width
        raise PictureError(f"PNG cut short: {there * 100 // height} % of its rows are there")


def _pieces(data: bytes) -> Iterator[bytes]:
    """Yield what the chunks of pixels hold, in small pieces."""
    at = len(PNG)
    while at + 12 <= len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind == b"IDAT":
            sum_ = zlib.crc32(kind)
            for start in range(at + 8, at + 8 + size, PIECE):
                piece = data[start : min(start + PIECE, at + 8 + size)]
                sum_ = zlib.crc32(piece, sum_)
                yield piece
            if at + 12 + size <= len(data) and sum_ != int.from_bytes(data[at + 8 + size : at + 12 + size], "big"):
                raise PictureError("PNG whose pixels are damaged: a checksum is another")
        at += 12 + size
