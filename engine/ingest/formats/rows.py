"""Consecutive rows of a file of vectors, whatever lengths they have."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from indexers.vectors import FloatArray, IdArray, as_float32

ROWS_AT_ONCE = 4096
MISSING = "there is no vector in this row"


@dataclass(frozen=True)
class Rows:
    """Consecutive rows: their vectors by length, and their columns.

    Attributes:
        count: how many.
        parts: by the length of vectors, the numbers of rows that have it, int64 [k], and these, float32 [k, length].
        columns: the other columns, row for row.
        fixed: whether the file gives all its rows one length, so that another than expected is no fault of a row.
        wrong: what is wrong with rows that are in no part, where it is known.
    """

    count: int
    parts: dict[int, tuple[IdArray, FloatArray]]
    columns: pa.Table
    fixed: bool = False
    wrong: dict[int, str] = field(default_factory=dict)

    @property
    def lengths(self) -> Counter[int]:
        """How many rows have each length, the first one's first; what has no numbers does not count."""
        order = sorted(self.parts, key=lambda length: int(self.parts[length][0][0]))
        return Counter({length: len(self.parts[length][0]) for length in order if length})

    def laid_out(self, dim: int) -> tuple[FloatArray, dict[int, str]]:
        """Return the vectors, float32 [count, dim] with NaN where there is none of that dimension, and why by row."""
        rows, matrix = self.parts.get(dim, (np.empty(0, np.int64), np.empty((0, dim), np.float32)))
        wrong = dict(self.wrong)
        if len(rows) == self.count:
            return matrix, wrong
        out: FloatArray = np.full((self.count, dim), np.nan, dtype=np.float32)
        out[rows] = matrix
        for length, (others, _) in self.parts.items():
            if length != dim:
                wrong |= dict.fromkeys(others.tolist(), f"the vector has {length} dimensions, and {dim} are expected")
        left = set(range(self.count)).difference(rows.tolist(), wrong)
        return out, {**wrong, **dict.fromkeys(left, MISSING)}


def of_matrix(matrix: NDArray[Any], columns: pa.Table) -> Rows:
    """Return the rows of a matrix [n, D] of real numbers."""
    every = np.arange(len(matrix), dtype=np.int64)
    return Rows(len(matrix), {matrix.shape[1]: (every, as_float32(matrix))}, columns, fixed=True)


def of_lists(lists: pa.Array, columns: pa.Table, wrong: dict[int, str] | None = None) -> Rows:
    """Return the rows of a column of lists of numbers; a null in one becomes NaN."""
    fixed = pa.types.is_fixed_size_list(lists.type)
    present = lists.drop_null()
    rows = np.flatnonzero(lists.is_valid().to_numpy(zero_copy_only=False))
    sizes = pc.list_value_length(present).to_numpy(zero_copy_only=False)
    flat = present.flatten().to_numpy(zero_copy_only=False)
    parts = {}
    if len(sizes) and (sizes == sizes[0]).all():
        parts[int(sizes[0])] = rows, as_float32(flat.reshape(len(rows), int(sizes[0])))
    else:
        starts = np.cumsum(sizes) - sizes
        for size in np.unique(sizes).tolist():
            own = np.flatnonzero(sizes == size)
            parts[size] = rows[own], as_float32(flat[starts[own][:, None] + np.arange(size)])
    return Rows(len(lists), parts, columns, fixed, wrong or {})
