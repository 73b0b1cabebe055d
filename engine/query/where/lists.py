"""What lists contain."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.collection.columntypes import is_list, is_text
from engine.query.where.literals import place, shown_type, value_set
from engine.query.where.tree import Scalar
from indexers.errors import InvalidFilter
from indexers.mask import in_both
from indexers.vectors import IdArray

MOST_VALUES = 1 << 25
"""Of a column that is turned about: its rows take 128 MB then, and four times as much while it is."""

MANY = 1000
"""Where one of so many values is looked for, or more of them, all are gone through once."""


def contains(array: Any, wanted: Sequence[Scalar], every: bool, named: str, at: tuple[int, int] | None) -> pa.Array:
    """Return whether lists contain one of some values, or every one; null where there is no list.

    Raises:
        InvalidFilter: they are no lists, or of something else.
    """
    if not is_list(array.type):
        raise InvalidFilter(f"{named} is {shown_type(array.type)}, and no list", at)
    kind = array.type.value_type
    flat, parents = array.flatten(), pc.list_parent_indices(array).to_numpy()
    groups = [[value] for value in wanted] if every else [wanted]
    found = [_any(flat, parents, len(array), group, kind, named) for group in groups]
    hits = np.logical_and.reduce(found) if found else np.ones(len(array), bool)
    return of_lists(array, hits)


def of_lists(array: Any, hits: NDArray[np.bool_]) -> pa.Array:
    """Return what was found of lists; null where there is none."""
    return pc.if_else(pc.is_valid(array), pa.array(hits), pa.scalar(None, pa.bool_()))


def _any(flat: Any, parents: Any, rows: int, wanted: Sequence[Scalar], kind: pa.DataType, named: str) -> Any:
    """Return whether each list has one of some values, bool [rows]; what is null is not looked for."""
    found = _set(wanted, kind, named)
    hits = np.zeros(rows, bool)
    if len(found) and len(flat):
        there = pc.fill_null(pc.is_in(flat, value_set=found), False).to_numpy(zero_copy_only=False)
        hits[parents[there]] = True
    return hits


def _set(wanted: Sequence[Scalar], kind: pa.DataType, named: str) -> pa.Array:
    return value_set([place(value, kind, f"a value of {named}") for value in wanted if value is not None], kind)


class Turned:
    """A column of lists turned about: for each value the rows whose list has it.

    What a filter asks for is looked up among the values, each of which is there once, and not in every list.

    Args:
        arrays: the column, batch by batch, of a type that `can_be_turned`.
    """

    def __init__(self, arrays: Sequence[pa.Array]) -> None:
        self._rows = sum(map(len, arrays))
        parts = pa.chunked_array([array.flatten().dictionary_encode() for array in arrays]).unify_dictionaries().chunks
        order = pc.array_sort_indices(parts[0].dictionary)
        self._values = parts[0].dictionary.take(order)
        places = np.append(np.argsort(order.to_numpy()), len(order))  # the last is what is null
        first, keys = 0, []
        for array, part in zip(arrays, parts, strict=True):
            codes = pc.fill_null(part.indices, len(order)).to_numpy(zero_copy_only=False)
            keys.append(places[codes] << 32 | (pc.list_parent_indices(array).to_numpy() + first))
            first += len(array)
        ordered = np.concatenate(keys)
        keys.clear()
        ordered.sort()
        # A list may have a value several times.
        ordered = ordered[np.diff(ordered, prepend=-1) != 0]
        self._owners = ordered.astype(np.uint32)  # what is lower than 32 bits: the row
        self._starts = np.searchsorted(ordered, np.arange(len(self._values) + 1, dtype=np.int64) << 32)

    @property
    def nbytes(self) -> int:
        """How much memory it takes."""
        return int(self._owners.nbytes + self._starts.nbytes + self._values.nbytes)

    def rows(self, wanted: Sequence[Scalar], every: bool, named: str) -> IdArray | None:
        """Return the rows whose lists have one of some values, or every one, int64 ascending; None for all rows."""
        groups = [[value] for value in wanted] if every else [wanted]
        found = sorted((self._any(group, named) for group in groups), key=len)
        return reduce(in_both, found).astype(np.int64) if found else None

    def having(self, wanted: Sequence[Scalar], every: bool, named: str) -> NDArray[np.bool_]:
        """Return likewise bool [rows]."""
        rows = self.rows(wanted, every, named)
        hits = np.full(self._rows, rows is None)
        if rows is not None:
            hits[rows] = True
        return hits

    def _any(self, wanted: Sequence[Scalar], named: str) -> NDArray[np.uint32]:
        """Return the rows whose lists have one of some values, ascending."""
        parts = [
            self._owners[self._starts[at] : self._starts[at + 1]]
            for at in self._places(_set(wanted, self._values.type, named))
        ]
        return parts[0] if len(parts) == 1 else np.unique(np.concatenate([np.empty(0, np.uint32), *parts]))

    def _places(self, found: pa.Array) -> Iterable[int]:
        """Return where some values are among ours."""
        if MANY * len(found) > len(self._values):
            return np.flatnonzero(pc.is_in(self._values, value_set=found).to_numpy(zero_copy_only=False))
        every = range(len(self._values))
        near = [(one, bisect_left(every, one, key=lambda at: self._values[at].as_py())) for one in found.to_pylist()]
        return [at for one, at in near if at < len(every) and self._values[at].as_py() == one]


def can_be_turned(arrays: Sequence[pa.Array]) -> bool:
    """Whether a column is one of lists of texts or whole numbers, and not too long."""
    if not arrays or not is_list(kind := arrays[0].type):
        return False
    of = kind.value_type
    if not (is_text(of) or pa.types.is_integer(of)):
        return False
    return 0 < sum(len(array.flatten()) for array in arrays) <= MOST_VALUES
