"""Which rows may answer a query: an argument of every search, and never a part of an index."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from indexers import checks
from indexers.errors import InvalidInput
from indexers.vectors import IdArray

Allowed = NDArray[np.bool_]
Number = TypeVar("Number", bound=np.integer[Any])


def in_both(one: NDArray[Number], other: NDArray[Number]) -> NDArray[Number]:
    """Return what is in two ascending lists, each number once; the shorter one is looked up in the longer.

    Example:
        >>> from indexers.mask import in_both
        >>> in_both(np.array([1, 4, 9]), np.array([0, 4, 5, 9])).tolist()
        [4, 9]
    """
    few, many = (one, other) if len(one) <= len(other) else (other, one)
    if not len(few):
        return few
    at = np.minimum(many.searchsorted(few), len(many) - 1)
    found: NDArray[Number] = few[many[at] == few]
    return found


@dataclass(frozen=True, eq=False)
class Mask:
    """The rows of a range that may answer: those without a tombstone, or of them those that a filter lets through.

    Where a query is a row itself and must not answer, one more answer is asked for and the row is taken out of them
    (`without_own`): a batch of queries has one mask, and each query a row of its own.

    Example:
        >>> live = engine.Mask.without(8, np.array([2, 5]))
        >>> red = engine.Mask.of(np.array([True, False, True, False, True, False, True, False]))
        >>> (live & red).numbers.tolist()
        [0, 4, 6]
        >>> (live & red).count
        3

    Attributes:
        rows: how many rows there are.
        count: how many of them may answer.
        bits: uint8 [ceil(rows / 8)], a bit a row, the least significant first, as FAISS' selectors and both compiled
            searches read it; None where every row may answer.
    """

    rows: int
    count: int
    bits: NDArray[np.uint8] | None = None
    _numbers: IdArray | None = field(default=None, repr=False)
    _parts: dict[tuple[int, int], Mask] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def every(cls, rows: int) -> Mask:
        """Return the mask that lets all rows answer."""
        return cls(rows, rows)

    @classmethod
    def of(cls, allowed: Allowed) -> Mask:
        """Return the mask of bool [rows]: true where a row may answer.

        Raises:
            InvalidInput: it is something else.
        """
        if not isinstance(allowed, np.ndarray) or allowed.dtype != bool or allowed.ndim != 1:
            raise InvalidInput(f"a mask is made of bool [rows], found {checks.brief(allowed)}")
        count = int(np.count_nonzero(allowed))
        return cls(len(allowed), count, None if count == len(allowed) else np.packbits(allowed, bitorder="little"))

    @classmethod
    def of_rows(cls, rows: int, numbers: IdArray) -> Mask:
        """Return the mask of the rows in int64 [m], ascending and each once, of so many."""
        allowed = np.zeros(rows, dtype=bool)
        allowed[numbers] = True
        bits = None if len(numbers) == rows else np.packbits(allowed, bitorder="little")
        # They are kept where they take no more room than the bits.
        return cls(rows, len(numbers), bits, numbers if 64 * len(numbers) <= rows else None)

    @classmethod
    def without(cls, rows: int, excluded: IdArray) -> Mask:
        """Return the mask of all rows but those in int64 [m]; what names no row of these is passed over."""
        inside = excluded[(excluded >= 0) & (excluded < rows)]
        if not len(inside):
            return cls.every(rows)
        allowed = np.ones(rows, dtype=bool)
        allowed[inside] = False
        return cls.of(allowed)

    def __reduce__(self) -> Any:
        """Leave out what FAISS was told, which cannot be copied."""
        return Mask, (self.rows, self.count, self.bits)

    def __len__(self) -> int:
        return self.rows

    def __and__(self, other: Mask) -> Mask:
        """Return the mask of the rows that both let answer.

        Raises:
            InvalidInput: they are of different numbers of rows.
        """
        if other.rows != self.rows:
            raise InvalidInput(f"a mask of {other.rows} rows was given for {self.rows} rows")
        if self.bits is None or other.bits is None:
            return other if self.bits is None else self
        return Mask.of(np.unpackbits(self.bits & other.bits, count=self.rows, bitorder="little").view(bool))

    def part(self, first: int, stop: int) -> Mask:
        """Return the mask of the rows from `first` to before `stop`, which are its rows 0, 1, …; kept for next time."""
        if self.bits is None:
            return Mask.every(stop - first)
        if (first, stop) == (0, self.rows):
            return self
        found = self._parts.get((first, stop))
        if found is None:
            found = self._parts[(first, stop)] = Mask.of(self.allowed[first:stop])
        return found

    @property
    def allowed(self) -> Allowed:
        """Which rows may answer, bool [rows]."""
        if self.bits is None:
            return np.ones(self.rows, dtype=bool)
        return np.unpackbits(self.bits, count=self.rows, bitorder="little").view(bool)

    @property
    def numbers(self) -> IdArray:
        """The rows that may answer, int64 [count], ascending."""
        return np.flatnonzero(self.allowed) if self._numbers is None else self._numbers

    @cached_property
    def selector(self) -> Any | None:
        """The same for FAISS; None where every row may answer."""
        import faiss

        return None if self.bits is None else faiss.IDSelectorBitmap(self.bits)
