"""What surrounds a picture in its file, left out before a decoder sees it: it may be a bomb, or larger than that.

Colour profiles are not applied and texts are not shown; of all that lies beside the pixels only what says how a
picture stands is of use. Pillow refuses a PNG whose texts or profile are large when unpacked, and takes minutes for a
JPEG with very many segments.
"""

from __future__ import annotations

import re
import zlib

from engine.encoders.formats import PNG

# Chunks that make pixels, of PNG and APNG. Of all others only what says how the picture stands is kept.
_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT"})
_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
# Texts that say how a picture stands, where its EXIF block does not.
_STANDING = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")
MOST_TEXT = 1 << 18
"""Bytes of a text that are read, unpacked; a picture's orientation takes a line."""

MOST_BESIDE = 1 << 20
"""Bytes beside the pixels of a JPEG above which only what is of use is kept."""
_EXIF, _XMP, _MOST_EXIF = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", 16


def lean(data: bytes) -> bytes:
    """Return a PNG or JPEG without what may be large and makes no pixel; any other file as it is."""
    if data.startswith(PNG):
        return _without_texts(data)
    if data.startswith(b"\xff\xd8\xff"):
        return _without_segments(data)
    return data


class _Kept:
    """The ranges of a file that are kept; what lies side by side is one."""

    def __init__(self) -> None:
        self._runs: list[list[int]] = []

    def add(self, start: int, stop: int) -> None:
        if self._runs and self._runs[-1][1] == start:
            self._runs[-1][1] = stop
        elif start < stop:
            self._runs.append([start, stop])

    def then(self, other: _Kept) -> _Kept:
        for start, stop in other._runs:
            self.add(start, stop)
        return self

    def of(self, data: bytes) -> bytes:
        if self._runs == [[0, len(data)]]:
            return data
        view = memoryview(data)
        return b"".join(view[start:stop] for start, stop in self._runs)


def _without_texts(data: bytes) -> bytes:
    # What says how the picture stands goes before its pixels, also where it came behind them.
    at, kind, before, pixels, seen = len(PNG), b"", _Kept(), _Kept(), set[bytes]()
    before.add(0, at)
    begun = False
    while at + 8 <= len(data) and kind != b"IEND":
        kind, stop = data[at + 4 : at + 8], at + 12 + int.from_bytes(data[at : at + 4], "big")
        begun = begun or kind == b"IDAT"
        if kind in _PIXELS:
            (pixels if begun else before).add(at, min(stop, len(data)))
        elif kind not in seen and _says_standing(data, at, stop, seen):
            before.add(at, stop)
        at = stop
    if kind != b"IEND":  # what is no chunk is the decoder's to refuse
        pixels.add(min(at, len(data)), len(data))
    return before.then(pixels).of(data)


def _says_standing(data: bytes, at: int, stop: int, seen: set[bytes]) -> bool:
    """Whether a chunk may say how the picture stands, is the first to do so, and is whole and not large."""
    kind, start = data[at + 4 : at + 8], at + 8
    if stop > len(data) or zlib.crc32(memoryview(data)[at + 4 : stop - 4]) != int.from_bytes(data[stop - 4 : stop]):
        return False
    if kind == b"eXIf":
        seen.add(kind)
        return True
    name = next((one for one in _STANDING if data.startswith(one, start)), None)
    if kind not in _TEXTS or name is None or name in seen or stop - start > MOST_TEXT:
        return False
    seen.add(name)
    body = data[start + len(name) : stop - 4]
    if kind == b"zTXt":
        body = body[1:]
    elif kind == b"iTXt" and body[:1] == b"\1":
        body = body[2:].split(b"\0", 2)[-1]  # behind the language and its own name for it
    else:
        return True
    unpacker = zlib.decompressobj()
    try:
        return len(unpacker.decompress(body, MOST_TEXT)) < MOST_TEXT
    except zlib.error:
        return False


def _without_segments(data: bytes) -> bytes:
    found = segments(data)
    if sum(end - start for code, start, end in found if _is_beside(code)) <= MOST_BESIDE:
        return data
    kept, exif, xmp = _Kept(), 0, 0
    kept.add(0, 2)
    for code, start, end in found:
        if code == 0xE1 and data.startswith(_EXIF, start + 4) and exif < _MOST_EXIF:
            exif += 1
        elif code == 0xE1 and data.startswith(_XMP, start + 4) and not xmp:
            xmp += 1
        elif _is_beside(code) and code not in (0xE0, 0xEE):  # those of JFIF and Adobe say what the colours are
            continue
        kept.add(start, end)
    kept.add(found[-1][2], len(data))
    return kept.of(data)


def _is_beside(code: int) -> bool:
    return 0xE0 <= code <= 0xEF or code == 0xFE


def segments(data: bytes) -> list[tuple[int, int, int]]:
    """Return marker, start and end of the segments of a JPEG before its first scan."""
    found, at = [], 2
    marker = re.compile(rb"\xff+([\xc0-\xfe])")
    while (match := marker.match(data, at)) is not None:
        code, size = match[1][0], int.from_bytes(data[match.end() : match.end() + 2], "big")
        end = match.end() + size
        if code == 0xDA or size < 2 or end > len(data):
            break
        found.append((code, match.start(), end))
        at = end
    return found
