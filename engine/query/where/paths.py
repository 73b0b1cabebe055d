"""Folder, name and suffix of many paths at once, by where their slashes and dots lie among all bytes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Places = NDArray[np.int64]


PARTS = ("folder", "name", "suffix")
"""What paths are made of: `2019/Italy`, `IMG_1.JPG` and `.jpg` of `2019/Italy/IMG_1.JPG`."""


def part_of(paths: pa.Array, wanted: str) -> pa.Array:
    """Take one of the PARTS out of each path; one that is not there is an empty text, and of a null null.

    Args:
        paths: text, with slashes between folders.
        wanted: which part.
    """
    paths = paths.cast(pa.large_string())
    _, places, texts = paths.buffers()
    ends = np.frombuffer(places, np.int64)[paths.offset : paths.offset + len(paths) + 1]
    data = np.frombuffer(texts or b"", np.uint8)
    start, end = ends[:-1], ends[1:]
    slash = _last(data, ord("/"), start, end)
    nulls = None if not paths.null_count else paths.is_null().to_numpy(zero_copy_only=False)
    if wanted == "folder":
        return _between(data, start, np.maximum(slash, start), nulls)
    name = np.where(slash < 0, start, slash + 1)
    if wanted == "name":
        return _between(data, name, end, nulls)
    dot = _last(data, ord("."), name + 1, end)  # one at the beginning of a name begins no suffix
    return pc.utf8_lower(_between(data, np.where(dot < 0, end, dot), end, nulls))


def _last(data: NDArray[np.uint8], letter: int, start: Places, end: Places) -> Places:
    """Return where a letter comes last between two places, int64 [n]; −1 where it does not come."""
    there = np.flatnonzero(data == letter)
    before = np.searchsorted(there, end, "left") - 1
    found = np.where(before >= 0, there[np.maximum(before, 0)] if len(there) else -1, -1)
    return np.where(found >= start, found, -1)


def _between(data: NDArray[np.uint8], start: Places, end: Places, nulls: NDArray[np.bool_] | None) -> pa.Array:
    """Return the texts between places as an array of them."""
    lengths = np.maximum(end - start, 0)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    total = int(offsets[-1])
    at = np.repeat(start - offsets[:-1], lengths) + np.arange(total)
    buffers = [None, pa.py_buffer(offsets.astype(np.int64)), pa.py_buffer(data[at].tobytes())]
    found = pa.Array.from_buffers(pa.large_string(), len(start), buffers)
    return found if nulls is None else pc.if_else(pa.array(nulls), pa.scalar(None, pa.large_string()), found)
