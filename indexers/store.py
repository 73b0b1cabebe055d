"""The full-dimension vectors, one row after another in a `.npy` file, mapped and never copied.

FAISS scans and reranks straight from the mapping: its index object is given a view of our
memory instead of codes of its own, so a rerank reads the rows it needs and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from indexers.base import FaissIndex, Neighbors, cosines
from indexers.errors import CorruptCollection, InvalidSpec
from indexers.mask import Mask
from indexers.npy import map_array
from indexers.vectors import FloatArray, IdArray

DTYPES = ("float16", "float32")
BLOCK_ROWS = 16_384
# From so many queries on, rows in half precision are widened a block at a time, and multiplied with all queries.
MANY, BLOCK_BYTES = 20, 16 << 20

StoredArray = NDArray[Any]


def check_dtype(name: str) -> np.dtype[Any]:
    """Return the NumPy dtype for a storage type's name.

    Raises:
        InvalidSpec: it is neither float16 nor float32.
    """
    if not isinstance(name, str) or name not in DTYPES:
        raise InvalidSpec(f"vectors are stored as {' or '.join(DTYPES)}, found {name!r}")
    return np.dtype(name)


def _view(codes: StoredArray) -> FaissIndex:
    """Make a FAISS index whose codes are `codes`' own memory."""
    d = codes.shape[1]
    if codes.dtype == np.float16:
        index = faiss.IndexScalarQuantizer(d, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    else:
        index = faiss.IndexFlatIP(d)
    if len(codes):
        raw = codes.view(np.uint8).reshape(-1)
        # The third argument is who frees the memory; an index that owns its codes holds an
        # empty pointer there, which is how Python can name "nobody": `VectorStore` keeps it.
        nobody = faiss.IndexFlatIP(1).codes.owner
        index.codes = faiss.MaybeOwnedVectorUInt8.create_view(faiss.swig_ptr(raw), raw.nbytes, nobody)
    index.ntotal = len(codes)
    index.is_trained = True
    return index


@dataclass(frozen=True)
class Blocks:
    """Stored rows [n, D] as float32, a block at a time; can be iterated again and again."""

    rows: StoredArray

    def __iter__(self) -> Iterator[FloatArray]:
        for start in range(0, len(self.rows), BLOCK_ROWS):
            yield np.asarray(self.rows[start : start + BLOCK_ROWS], dtype=np.float32)


class BlockScan:
    """An exact search of many queries, a block of rows at a time: each is read and widened once for all of them.

    What it costs is known after the first block, whatever the rest is found with.

    Args:
        store: the rows.
        xq: unit float32 [nq, D].
        k: answers a query.

    Attributes:
        rows: how many have been read, the first ones.
    """

    def __init__(self, store: VectorStore, xq: FloatArray, k: int) -> None:
        self._store, self._xq, self._k = store, np.ascontiguousarray(xq), k
        self._best = faiss.ResultHeap(len(xq), k, keep_max=True)
        self.rows = 0

    def read(self, rows: int) -> None:
        """Read on, until so many rows have been."""
        at_once = max(1, BLOCK_BYTES // (4 * self._store.dim))
        while self.rows < rows:
            block = np.asarray(self._store.rows[self.rows : min(rows, self.rows + at_once)], dtype=np.float32)
            k = min(self._k, len(block))
            scores, found = faiss.knn(self._xq, block, k, metric=faiss.METRIC_INNER_PRODUCT)
            self._best.add_result(scores, found + np.where(found >= 0, self.rows, 0))
            self.rows += len(block)

    def neighbors(self) -> Neighbors:
        """Return the best of the rows that were read, [nq, k]."""
        self._best.finalize()
        return cosines(self._best.D, self._best.I)


class VectorStore:
    """Stored rows [n, D], float16 or float32, ready to be scanned or gathered.

    Example:
        >>> store = engine.VectorStore(np.load("vectors.npy"))
        >>> len(store), store.dim, store.row_bytes
        (1200, 32, 128)
        >>> store.search(store.gather(np.array([7, 8])), k=1).ids.tolist()
        [[7], [8]]

    Attributes:
        rows: the stored values, [n, D], read-only.
        index: a FAISS index over the same memory; alive as long as this object is.
    """

    def __init__(self, rows: StoredArray) -> None:
        # `>f2` is named float16 too, and FAISS would read its bytes the wrong way round.
        known = rows.dtype.name in DTYPES and rows.dtype.isnative
        if rows.ndim != 2 or not rows.shape[1] or not known or not rows.flags.c_contiguous:
            raise CorruptCollection(
                f"stored vectors must be a C-ordered float16 or float32 matrix, found {rows.dtype} {rows.shape}"
            )
        self.rows = rows
        self.index = _view(rows)

    @classmethod
    def open(cls, path: Path) -> VectorStore:
        """Map a `.npy` file.

        Raises:
            CorruptCollection: not a `.npy` file of a float16 or float32 matrix, or cut short.
        """
        try:
            with open(path, "rb") as file:
                rows = map_array(file)
        except (ValueError, OSError) as error:
            raise CorruptCollection(f"{path} is not a whole .npy file of vectors: {error}") from error
        return cls(rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def dim(self) -> int:
        """Full dimension D."""
        return int(self.rows.shape[1])

    @property
    def row_bytes(self) -> int:
        """Bytes of a stored row."""
        return int(self.rows.shape[1] * self.rows.itemsize)

    def search(self, xq: FloatArray, k: int, mask: Mask | None = None) -> Neighbors:
        """Scan every row: the exact answer over the stored values.

        Args:
            xq: unit float32 [nq, D].
            k: answers a query.
            mask: which rows may answer; all if None.

        Returns:
            Neighbors [nq, k] whose ids are row numbers.
        """
        if mask is None and len(xq) >= MANY and self.rows.dtype == np.float16 and len(self) > 0:
            scan = BlockScan(self, xq, k)
            scan.read(len(self))
            return scan.neighbors()
        selector = None if mask is None else mask.selector
        scores, rows = self.index.search(xq, k, params=faiss.SearchParameters(sel=selector))
        return cosines(scores, rows)

    def gather(self, rows: IdArray, dim: int | None = None) -> FloatArray:
        """Read rows as float32, or only their first `dim` numbers (not renormalised).

        Args:
            rows: int64 of any shape, each in [0, n).
            dim: how many leading numbers to read; all by default.

        Returns:
            float32 of shape [*rows.shape, dim].
        """
        return np.asarray(self.rows[rows, : dim or self.dim], dtype=np.float32)
