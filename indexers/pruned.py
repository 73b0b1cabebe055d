"""`pruned@D`: an index that is exact, and reads only what can still win.

Every vector is centred, turned so that its leading numbers say most, and kept as 8-bit codes. They lie in lines, one
line of the cache a row: the first two have 64 numbers each, then come the upper halves of 128 codes a line, and after
those the lower halves. A query scans the first line of every row. What the rest can add to a score is bounded by the
product of two lengths (Cauchy–Schwarz), what rounding can add by others; rows whose bound falls short of the k-th best
so far are dropped, and their later lines are never read. What is left is scored from the stored vectors. So the answer
is that of a scan of everything, at a fraction of its bytes, whatever the data: only the speed depends on them.

A vector x and a query q are not turned alike: with A Bᵀ = 1, q·x = (q B)·(x A). A and B are those with which rows and
queries vary alike, most of it in their leading numbers: what is left of both is then as short as a linear map can make
it (balanced truncation, Moore 1981, doi:10.1109/TAC.1981.1102568). Queries that are not like the rows, texts beside
pictures, gain most from it.

The layout and pruning by dimension blocks are those of PDX (Kuffo et al. 2025, arXiv:2503.04422); pruning there and in
ADSampling (Gao & Long 2023) is a matter of chance for inner products, and is not here. The scan itself is `_prune.c`.

`pruned_file.py` says where everything lies, and makes the file.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexers.base import MISSING, Neighbors, cosines
from indexers.errors import CorruptCollection
from indexers.mask import Mask
from indexers.pruned_file import HEADER, LEAST_STEP, LOWER, MARGIN, ROUNDING, UPPER, WIDTH, Layout, squares
from indexers.store import VectorStore
from indexers.threads import in_parts
from indexers.vectors import MAX_NORM, FloatArray, IdArray

try:
    from indexers.kernels._prune import prune
except ImportError:  # installed without a compiler; `doctor` tells
    prune = None  # type: ignore[assignment]

FAMILY = "pruned"
QUERIES_AT_ONCE = 64
# What a query's numbers are rounded to: 16 bits beside whole codes, 8 beside halves.
MOST, MOST_HALVES = 32_767, 127


def is_available() -> bool:
    """Whether the compiled scan is there."""
    return prune is not None


class Found(NamedTuple):
    """Exact answers, and what they took.

    Example:
        >>> from pathlib import Path
        >>> from indexers.pruned_file import write_pruned
        >>> from indexers.store import Blocks
        >>> store = engine.VectorStore(np.load("vectors.npy"))
        >>> write_pruned(Path("x.pruned"), Blocks(store.rows), len(store), store.rows)
        >>> found = engine.PrunedIndex(Path("x.pruned"), len(store), store.dim).search(store, store.rows[:3], k=1)
        >>> found.neighbors.ids.tolist(), bool((found.bytes_read < store.rows.nbytes).all())
        ([[0], [1], [2]], True)

    Attributes:
        neighbors: [nq, k], id −1 where there are fewer rows.
        bytes_read: int64 [nq]: codes, lengths and stored vectors that were looked at.
    """

    neighbors: Neighbors
    bytes_read: IdArray


class PrunedIndex:
    """An open index file, mapped; safe to search from many threads.

    Example:
        >>> from pathlib import Path
        >>> from indexers.pruned_file import write_pruned
        >>> from indexers.store import Blocks
        >>> store = engine.VectorStore(np.load("vectors.npy"))
        >>> write_pruned(Path("x.pruned"), Blocks(store.rows), len(store), store.rows)
        >>> index = engine.PrunedIndex(Path("x.pruned"), len(store), store.dim)
        >>> index.search(store, store.rows[:3], k=1).neighbors.ids.tolist()
        [[0], [1], [2]]

    Args:
        path: the file, whose hash has been checked.
        n: rows it must hold.
        dim: full dimension D.
        level: which instructions: 0 for the best there are, 1 for plain C, 2 for AVX2, 4 for AVX-512.

    Raises:
        CorruptCollection: it is not such a file.
    """

    def __init__(self, path: Path, n: int, dim: int, level: int = 0) -> None:
        self._level = level
        self.layout = Layout(n, dim)
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            if size != self.layout.size or file.read(HEADER.size) != self.layout.header:
                raise CorruptCollection(f"{path} is not the pruned index of {n} rows × {dim}; rebuild it")
            (self._margin,) = MARGIN.unpack(file.read(MARGIN.size))
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        arrays = {
            name: np.frombuffer(mapped, part.dtype, int(np.prod(part.shape)), part.offset).reshape(part.shape)
            for name, part in self.layout.parts.items()
        }
        self._mean, self._turn, self._scales = (np.array(arrays[name]) for name in ("mean", "turn", "scales"))
        self._norms, self._codes = arrays["norms"], arrays["codes"]
        # Within these bounds no query can come out as NaN or infinite, and as bytes it would be anything.
        if not all((np.abs(one) < MAX_NORM).all() for one in (self._mean, self._turn, self._scales, self._margin)):
            raise CorruptCollection(f"{path} has numbers that are NaN or larger than any of ours; rebuild it")

    def search(
        self,
        store: VectorStore,
        xq: FloatArray,
        k: int,
        *,
        floors: FloatArray | None = None,
        mask: Mask | None = None,
    ) -> Found:
        """Find exactly the k best rows of the stored vectors.

        Args:
            store: the vectors the index was made of.
            xq: unit float32 [nq, D].
            k: answers a query, ≥ 1.
            floors: float32 [nq], a score that k rows which may answer are known to reach, where some search found
                them: the scan drops more from the start.
            mask: which rows may answer; all if None.
        """
        if floors is None:
            floors = np.full(len(xq), -np.inf, dtype=np.float32)
        bitmap = b"" if mask is None or mask.bits is None else mask.bits
        found = Found(
            Neighbors(np.empty((len(xq), k), np.float32), np.empty((len(xq), k), np.int64)),
            np.empty(len(xq), np.int64),
        )

        def work(part: slice) -> None:
            rows = self._candidates(xq[part], k, floors[part], bitmap)
            for i, (candidates, scanned) in enumerate(rows, part.start):
                best = _best(store, xq[i], candidates, k)
                found.neighbors.scores[i], found.neighbors.ids[i] = best
                found.bytes_read[i] = scanned * (WIDTH + 1) + len(candidates) * store.row_bytes

        in_parts(work, len(xq), QUERIES_AT_ONCE)
        cosines(*found.neighbors)
        return found

    def _candidates(
        self, xq: FloatArray, k: int, floors: FloatArray, bitmap: NDArray[np.uint8] | bytes
    ) -> list[tuple[IdArray, int]]:
        """Return, for each query, every row that can be among its k best, and the lines that were looked at."""
        z = self.layout.segmented(xq @ self._turn)
        queries, terms = self._bounds(z)
        known = np.asarray(floors - xq @ self._mean - 2 * self._margin, dtype=np.float32)
        n, whole = self.layout.n, self.layout.whole
        found = prune(self._codes, self._norms, n, whole, queries, terms, known, min(k, n), bitmap, self._level)
        return [(np.frombuffer(rows, np.int64), scanned) for rows, scanned in found]

    def _bounds(self, z: FloatArray) -> tuple[NDArray[np.uint8], FloatArray]:
        """Return queries as bytes [nq, S − G, 128], and terms, float32 [nq, S, 4]; `_prune.c` says what they are."""
        whole, pairs, known = self.layout.whole, self.layout.pairs, self.layout.known
        steps, low, unit, fine, coarse, longest = self._scales.T
        each = np.maximum(self.layout.shared(np.abs(z).max(axis=2)), LEAST_STEP)
        each[:, :whole] /= MOST
        each[:, whole:] /= MOST_HALVES
        rounded = np.rint(z / each[:, :, None])
        queries = np.concatenate(
            [
                rounded[:, :whole].astype(np.int16).view(np.uint8),
                rounded[:, whole:].astype(np.int8).view(np.uint8).reshape(len(z), pairs, 2 * WIDTH),
            ],
            axis=1,
        )
        scale = each * steps
        firsts = slice(whole, None, 2)
        # A code is its halves: 16 · upper + lower − 128. Lines of halves are of whole pairs.
        sums = scale[:, firsts] * rounded[:, whole:].reshape(len(z), pairs, 2 * WIDTH).sum(axis=2)
        a = np.concatenate([scale[:, :whole], 16 * scale[:, firsts], scale[:, firsts]], axis=1)
        d = np.concatenate([np.zeros((len(z), whole), np.float32), -UPPER * sums, -LOWER * sums], axis=1)
        length, off = squares(z), squares(z - rounded * each[:, :, None])
        rest, at_fine, at_coarse = (np.sqrt(length @ one.T) for one in (known.unseen, known.fine, known.coarse))
        # q·x − q'·x' = q·(x − x') + (q − q')·x' where ' is rounded; and x' is no longer than x and its error.
        own = np.sqrt(off @ known.seen.T) * (longest + fine + coarse)
        c = (rest * low + at_fine * fine + at_coarse * coarse + own) * ROUNDING + self._margin
        return queries, np.stack([a, rest * ROUNDING * unit, c, d], axis=2).astype(np.float32)


def _best(store: VectorStore, q: FloatArray, rows: IdArray, k: int) -> tuple[FloatArray, IdArray]:
    """Score rows, ascending, from the stored vectors and keep the k best; ties by lower row first."""
    scores = store.gather(rows) @ q
    order = np.argsort(-scores, kind="stable")[:k]
    best, ids = np.full(k, -np.inf, np.float32), np.full(k, MISSING, np.int64)
    best[: len(order)], ids[: len(order)] = scores[order], rows[order]
    return best, ids
