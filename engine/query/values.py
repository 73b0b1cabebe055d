"""Values of a column by row, read where they are asked for."""

from __future__ import annotations

import math
from bisect import bisect_right
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from engine.query.where.columns import Columns
from indexers.mask import Mask

NAN = math.nan
"""What stands for every value that is no number."""


def counts_of(columns: Columns, name: str, allowed: Mask, most: int) -> dict[Any, int]:
    """Count the values of a column among some rows, the most frequent first, of equal ones the one that comes first.

    Raises:
        InvalidFilter: there is no such column.
    """
    found: dict[Any, int] = {}
    start, bits = 0, allowed.allowed
    for array in columns.named(name):
        some = array.filter(pa.array(bits[start : start + len(array)]))
        start += len(array)
        if pa.types.is_nested(some.type):
            some = pa.array([_known(value) for value in some.to_pylist()], pa.string())
        for one in pc.value_counts(some).to_pylist():
            value = _known(one["values"])
            found[value] = found.get(value, 0) + one["counts"]
    return dict(sorted(found.items(), key=lambda one: -one[1])[:most])


class Values:
    """The values of a column of a version, as Python has them, by row number; of what cannot be compared its text.

    Args:
        columns: of the version.
        name: of the column, or of a field of one: `camera`, `meta.size`, `place.city`.

    Raises:
        InvalidFilter: there is none of that name.
    """

    def __init__(self, columns: Columns, name: str) -> None:
        self._arrays = columns.named(name)
        self._starts = [0, *accumulate(len(array) for array in self._arrays)]

    def __call__(self, row: int) -> Any:
        """Return the value of a row; None where it has none."""
        at = bisect_right(self._starts, row) - 1
        return _known(self._arrays[at][row - self._starts[at]].as_py())


def _known(value: Any) -> Any:
    """Return a value that is equal to itself wherever it comes again."""
    if isinstance(value, list | dict):
        return repr(value)
    return NAN if isinstance(value, float) and math.isnan(value) else value
