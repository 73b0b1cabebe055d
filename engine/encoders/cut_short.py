"""JPEG files that were cut short: how many of their rows are there, and reading those that lack next to nothing.

libjpeg fills what is missing with grey and says nothing of how much that was. So a file is decoded with an end marker
behind it, and again with nonsense before that marker: rows that are there are the same in both, and those that are
not differ from where the file breaks off.
"""

from __future__ import annotations

import io
import re
from typing import NamedTuple

import numpy as np
from blake3 import blake3
from PIL.JpegImagePlugin import JpegImageFile

from engine.encoders.lean import segments
from indexers.errors import PictureError

LEAST_ROWS = 0.95
"""A JPEG with fewer of its rows is refused."""

_END, _MOST_ZEROS = b"\xff\xd9", 16
_NONSENSE = blake3(b"nothing").digest(length=4096).replace(b"\xff", b"\0")
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")


class Mended(NamedTuple):
    """A JPEG that has an end again.

    Attributes:
        data: the file.
        note: what was wrong with it.
    """

    data: bytes
    note: str


def mended(data: bytes) -> Mended:
    """Return a JPEG that was cut short with an end, if next to nothing of it is missing.

    Raises:
        PictureError: more is missing; it says how much is there.
    """
    kept = _without_padding(data)
    if not _has_all_scans(kept):
        raise PictureError("JPEG cut short: scans of it are missing")
    share = _share_of_rows(kept)
    if share < LEAST_ROWS:
        raise PictureError(f"JPEG cut short: {int(share * 100)} % of its rows are there")
    if share == 1:
        return Mended(kept + _END, "the JPEG has no end marker; all of its rows are there")
    return Mended(kept + _END, f"the JPEG is cut short; {int(share * 100)} % of its rows are there")


def has_end(data: bytes) -> bool:
    """Whether there is an end marker behind the header of a JPEG; without one, zeros would be taken for pixels."""
    return data.rfind(_END, max((end for _, _, end in segments(data)), default=2)) >= 0


def _without_padding(data: bytes) -> bytes:
    """Return a file without half a marker at its end, or the zeros that stand for what was never written."""
    bare = data.rstrip(b"\0")
    kept = bare if len(data) - len(bare) > _MOST_ZEROS else data
    return kept.rstrip(b"\xff")


def _share_of_rows(data: bytes) -> float:
    # A marker that begins another stretch of scans resets the decoder: the break may be before one or behind it.
    last = max((data.rfind(bytes((0xFF, 0xD0 + number))), number) for number in range(8))
    following = 0 if last[0] < 0 else (last[1] + 1) % 8
    whole = _decoded(data + _END)
    for tail in (_NONSENSE, bytes((0xFF, 0xD0 + following)) + _NONSENSE):
        other = _decoded(data + tail + _END)
        differs = (other[: len(whole)] != whole).reshape(len(whole), -1).any(axis=1)
        if differs.any():
            whole = whole[: int(differs.argmax())]
    return len(whole) / len(other)


def _decoded(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Decode small, rows first; not so small that what later scans refine would not be seen."""
    with JpegImageFile(io.BytesIO(data), "") as opened:
        scale = 2 if opened.info.get("progressive") else 8
        opened.draft(None, (max(1, opened.width // scale), max(1, opened.height // scale)))
        return np.asarray(opened)


def _has_all_scans(data: bytes) -> bool:
    """Whether the scans that have begun say every coefficient of every component to its last bit."""
    missing: dict[int, int] = {}
    at = 2
    while (match := _MARKER.search(data, at)) is not None:
        code, body = match[1][0], match.end()
        at = body + int.from_bytes(data[body : body + 2], "big")
        if code in _START_OF_FRAME:
            missing = dict.fromkeys(data[body + 8 : at : 3], (1 << 64) - 1)
        elif code == 0xDA and at <= len(data):
            first, last, low = data[at - 3], data[at - 2], data[at - 1] & 15
            said = ((1 << (last + 1)) - (1 << first)) & ((1 << 64) - 1) if first <= last < 64 else 0
            for one in data[body + 3 : at - 3 : 2]:
                missing[one] = missing.get(one, 0) | said if low else missing.get(one, 0) & ~said
    return bool(missing) and not any(missing.values())
