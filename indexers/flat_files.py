"""Whole vectors in index files of FAISS: out of flat ones and cells of flat vectors that it wrote, and into a flat one.

FAISS itself is not asked to read them: it takes each size in a file on trust. Nothing is set aside here but what the
file has room for, and vectors stay in it, mapped, until they are wanted.

The format: faiss/impl/index_write.cpp.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np

from indexers.vectors import FloatArray, IdArray

HEADER = struct.Struct("<iqqqBi")  # d, ntotal, two that mean nothing, is_trained, metric
FLAT, CELLS, NAMED = ("IxFI", "IxF2", "IxFl"), ("IwFl",), ("IxMp", "IxM2")
HASHTABLE = 2
INNER_PRODUCT = 0
UNUSED = 1 << 20
MOST_DIM = 1 << 20


def write_flat(file: BinaryIO, dim: int, ids: IdArray, blocks: Iterable[FloatArray]) -> None:
    """Write what FAISS reads as an `IndexIDMap2` over an `IndexFlatIP`; it would want all vectors in memory for that.

    Args:
        file: an open file, at its beginning.
        dim: their dimension D.
        ids: int64 [n].
        blocks: float32 [m, D] each, n rows in all.
    """
    header = HEADER.pack(dim, len(ids), UNUSED, UNUSED, 1, INNER_PRODUCT)
    file.write(b"IxM2" + header + b"IxFI" + header + struct.pack("<Q", len(ids) * dim))
    for block in blocks:
        file.write(np.ascontiguousarray(block, "<f4").data)
    file.write(struct.pack("<Q", len(ids)) + np.ascontiguousarray(ids, "<i8").tobytes())


class FlatFile:
    """Vectors of an index file, in the order of their ids; where these were not given, as they were added.

    Args:
        file: an open file.

    Raises:
        ValueError: it is no index file, or one that does not hold whole vectors.
        OSError: it cannot be read.

    Attributes:
        dim: their dimension D.
        ids: int64 [n] as they were given to `add_with_ids`; None where nobody gave any.
    """

    def __init__(self, file: BinaryIO) -> None:
        try:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:
            raise ValueError("it is empty") from error
        self._at, self._end = 0, len(self._data)
        self.ids: IdArray | None = None
        self.dim, self._places = self._index((*FLAT, *CELLS, *NAMED))

    def __len__(self) -> int:
        return len(self._places)

    def rows(self, start: int, stop: int) -> FloatArray:
        """Return some vectors, float32 [stop − start, D]."""
        found = [np.frombuffer(self._data, "<f4", self.dim, at) for at in self._places[start:stop].tolist()]
        return np.stack(found).astype(np.float32, copy=False) if found else np.empty((0, self.dim), np.float32)

    def _index(self, known: tuple[str, ...]) -> tuple[int, IdArray]:
        """Pass over an index; return its dimension and where each of its vectors begins."""
        kind = self._kind(known)
        dim, count, _, _, _, metric = HEADER.unpack_from(self._data, self._skip(HEADER.size))
        if metric > 1:
            self._skip(4)  # the argument of a metric that has one
        if not 1 <= dim <= MOST_DIM or not 0 <= count <= self._end:
            raise ValueError(f"it says that it holds {count} vectors of {dim} dimensions")
        if kind in NAMED:
            return self._named(dim, count)
        if kind in CELLS:
            return dim, self._cells(dim, count)
        start, numbers = self._array(4)
        if numbers != count * dim:
            raise ValueError(f"it holds {numbers} numbers for {count} vectors of {dim} dimensions")
        return dim, start + 4 * dim * np.arange(count, dtype=np.int64)

    def _named(self, dim: int, count: int) -> tuple[int, IdArray]:
        inner, places = self._index((*FLAT, *CELLS))
        ids = self._ids()
        if inner != dim or not len(ids) == len(places) == count:
            raise ValueError(f"it has {len(ids)} ids for {len(places)} of {count} vectors")
        self.ids = ids
        return dim, places

    def _cells(self, dim: int, count: int) -> IdArray:
        """Pass over cells; return where their vectors begin, by their ids."""
        nlist, _ = self._read("QQ")
        inner, centroids = self._index(FLAT)
        if inner != dim or len(centroids) != nlist:
            raise ValueError(f"it has {len(centroids)} centroids of {inner} dimensions for {nlist} cells of {dim}")
        (direct,) = self._read("b")
        self._array(8)
        if direct == HASHTABLE:
            self._array(16)
        self._kind(("ilar",))
        cells, size = self._read("QQ")
        if cells != nlist or size != 4 * dim:
            raise ValueError(f"it has {cells} of {nlist} cells, with codes of {size} bytes for {dim} dimensions")
        places, ids = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for rows in self._cell_sizes(nlist):
            start = self._skip(rows * size)
            places.append(start + size * np.arange(rows, dtype=np.int64))
            ids.append(self._numbers(self._skip(8 * rows), rows))
        every = np.concatenate(ids)
        if len(every) != count:
            raise ValueError(f"its cells hold {len(every)} of {count} vectors")
        order = np.argsort(every, kind="stable")
        every = every[order]
        self.ids = None if (every == np.arange(count)).all() else every
        return np.concatenate(places)[order]

    def _cell_sizes(self, nlist: int) -> list[int]:
        sparse = self._kind(("full", "sprs")) == "sprs"
        start, count = self._array(8)
        numbers = np.frombuffer(self._data, "<u8", count, start)
        if not sparse and count != nlist:
            raise ValueError(f"it has {count} sizes of {nlist} cells")
        sizes: list[int] = (numbers[1::2] if sparse else numbers).tolist()
        return sizes

    def _ids(self) -> IdArray:
        start, count = self._array(8)
        return self._numbers(start, count)

    def _numbers(self, start: int, count: int) -> IdArray:
        return np.frombuffer(self._data, "<i8", count, start).astype(np.int64)

    def _kind(self, known: tuple[str, ...]) -> str:
        (raw,) = self._read("4s")
        kind: str = raw.decode("latin-1")
        if kind not in known:
            raise ValueError(
                f"it is of the kind {kind!r}; whole vectors are in those that FAISS calls Flat and IVF,Flat "
                f"({', '.join(known)}), by themselves or in an IDMap"
            )
        return kind

    def _array(self, size: int) -> tuple[int, int]:
        """Pass over an array of numbers of some bytes; return where it begins, and how many they are."""
        (count,) = self._read("Q")
        return self._skip(count * size), count

    def _read(self, form: str) -> tuple[Any, ...]:
        size = struct.calcsize("<" + form)
        return struct.unpack_from("<" + form, self._data, self._skip(size))

    def _skip(self, count: int) -> int:
        """Move on; return where from."""
        if count > self._end - self._at:
            raise ValueError(f"{count:,} bytes at {self._at:,} are more than there are")
        start, self._at = self._at, self._at + count
        return start
