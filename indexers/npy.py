"""Arrays in `.npy` files, mapped: whatever a header says is compared with the file before anything is set aside.

The format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import io
import math
import os
import warnings
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

MAGIC = b"\x93NUMPY"
LENGTHS = {(1, 0): 2, (2, 0): 4, (3, 0): 4}
MOST_HEADER = 10_000
MOST = 1 << 48
MOST_AXES = 32


def map_array(file: BinaryIO) -> NDArray[Any]:
    """Map the array of an open `.npy` file, read-only.

    Raises:
        ValueError: it is no such file, or its array is not the rest of it, byte for byte.
        OSError: it cannot be mapped.
    """
    shape, in_columns, dtype, start = read_header(file)
    if dtype.hasobject or dtype.fields is not None or dtype.subdtype is not None or not dtype.itemsize:
        raise ValueError(f"expected an array of numbers, found {dtype}")
    declared, there = math.prod(shape) * dtype.itemsize, os.fstat(file.fileno()).st_size - start
    if declared != there:
        raise ValueError(
            f"{dtype} {_short(shape)} takes {declared:,} bytes, and {there:,} follow its header: "
            f"the file {'was cut short' if declared > there else 'holds something else as well'}"
        )
    if not declared:  # nothing cannot be mapped
        return np.empty(shape, dtype)
    return np.memmap(file, dtype, "r", start, shape, "F" if in_columns else "C")


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Read a header: shape, whether columns come first, type, and where the numbers begin.

    Raises:
        ValueError: it is none, or of an array that no file holds.
    """
    start = file.read(len(MAGIC) + 2)
    size = LENGTHS.get((start[-2], start[-1])) if len(start) == len(MAGIC) + 2 and start.startswith(MAGIC) else None
    if size is None:
        raise ValueError(f"expected the header of a .npy file, found {start!r}")
    length = file.read(size)
    count = int.from_bytes(length, "little")
    if len(length) < size or count > MOST_HEADER:
        raise ValueError(f"expected a header of at most {MOST_HEADER:,} bytes, found one of {count:,}")
    text = io.BytesIO(length + file.read(count))
    read = np.lib.format.read_array_header_1_0 if size == LENGTHS[1, 0] else np.lib.format.read_array_header_2_0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a header may be of Python 2
            shape, in_columns, dtype = read(text, max_header_size=MOST_HEADER)
    except Exception as error:  # it is a Python literal: a wrong one fails in a dozen ways
        raise ValueError(f"its header cannot be read: {_short(error)}") from error
    if len(shape) > MOST_AXES or not all(type(length) is int and 0 <= length < MOST for length in shape):
        raise ValueError(f"no array has the shape {_short(shape)}")
    return shape, in_columns, dtype, len(MAGIC) + 2 + size + count


def _short(found: Any) -> str:
    """Write something in a line; what a header says can be as long as it."""
    try:
        text = " ".join(str(list(found) if isinstance(found, tuple) else found).split())
    except ValueError:  # a number of thousands of digits
        return "a number that is too long to write"
    return text if len(text) <= 200 else text[:200] + "…"
