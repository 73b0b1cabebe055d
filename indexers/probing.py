"""Search `ivf-pq` in one call: from full queries to answers scored by the stored vectors, over FAISS' own codes.

FAISS takes the same way in five steps: cut and turn the query, choose cells, scan their codes, collect a shortlist,
score it again. For one query it spends more on going from step to step, cell to cell and row to row than on the codes:
0.22 ms where the codes could be read in 0.04. `_probe.c` does the five in one pass, over the memory of the FAISS index
and of the stored vectors; nothing is kept twice but centroids and code books. With a margin, what the nearest cells
hold decides how far from them others can still matter: easy queries then visit few cells, and hard ones many. That is
the observation of Li et al. (2020, SIGMOD), with a bound in place of a learned model.

The queries of a batch go together. After the nearest cells of each, the others are visited in the order of cells, so
that the codes of a cell come from the nearest cache for all who visit it; and their shortlists are scored in the order
in which rows lie in memory, so that a row that many want is read once, and the next is not far. A query has the answers
it would have alone. With 500,000 rows of 768 numbers and 400 of them to a shortlist, a batch takes half the time.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from indexers.base import FaissIndex, Neighbors
from indexers.families.registry import family
from indexers.mask import Mask
from indexers.prefix import matrix_of, unwrap
from indexers.store import VectorStore
from indexers.threads import available_cores, in_parts
from indexers.vectors import FloatArray, IdArray

try:
    from indexers.kernels._probe import Cells
except ImportError:  # installed without a compiler, or for another kind of processor; `doctor` tells
    Cells = None  # type: ignore[assignment,misc]

BITS = 4
QUERIES_AT_ONCE, FEWEST_AT_ONCE = 512, 8
MOST_CODES = 4096
BLOCK = 32
NO_MARGIN = math.inf


class Probed(NamedTuple):
    """Answers, and what they took.

    Example:
        >>> from indexers.build import build
        >>> from indexers.families.registry import resolve
        >>> store = engine.VectorStore(np.load("vectors.npy"))
        >>> index = build(resolve(engine.IndexSpec.parse("ivf-pq@16:nlist=10"), *store.rows.shape), store, device="cpu")
        >>> few, all_cells = (engine.ProbedIndex(index, store).search(store.rows[:1], 1, n, 20) for n in (2, 10))
        >>> bool(few.visited < all_cells.visited), all_cells.visited.tolist()
        (True, [1200])

    Attributes:
        neighbors: [nq, k], id −1 where there are fewer rows.
        visited: int64 [nq], codes that were looked at.
    """

    neighbors: Neighbors
    visited: IdArray


@cache
def is_available(level: int = 0) -> bool:
    """Whether the compiled search is there, and this processor has what it needs."""
    if Cells is None:
        return False
    one = np.zeros(1, np.float32)
    try:
        books, shape = np.zeros(16, np.float32), (1, 1, 1, 1, 1, 1, 4, 0)
        Cells(b"", one.astype(np.float16), books, [b""], [b""], b"", b"", one, shape, level)
    except NotImplementedError:
        return False
    return True


class ProbedIndex:
    """An `ivf-pq` index with the vectors behind it; immutable, and safe to search from many threads.

    Example:
        >>> from indexers.build import build
        >>> from indexers.families.registry import resolve
        >>> store = engine.VectorStore(np.load("vectors.npy"))
        >>> index = build(resolve(engine.IndexSpec.parse("ivf-pq@16:nlist=10"), *store.rows.shape), store, device="cpu")
        >>> found = engine.ProbedIndex(index, store).search(store.rows[:3], k=1, nprobe=5, shortlist=20)
        >>> found.neighbors.ids.tolist()
        [[0], [1], [2]]

    Args:
        index: as `build` makes it, over full vectors [n, D].
        store: the vectors it was made of.
        level: which instructions: 0 for the best there are, 2 for AVX2, 4 for AVX-512, 5 for AVX-512 with GFNI.

    Raises:
        NotImplementedError: this processor does not have them.
    """

    def __init__(self, index: FaissIndex, store: VectorStore, level: int = 0) -> None:
        ivf, *refine = _parts(index)
        # Buffers are held by `_cells`, but not who owns their memory.
        self._owners = index, store
        matrix = matrix_of(index)
        width = ivf.d if matrix is None else matrix.shape[1]
        quantizer = faiss.downcast_index(ivf.quantizer)
        codes, ids = zip(*(_cell(ivf, cell) for cell in range(ivf.nlist)), strict=True)
        self._cells = Cells(
            b"" if matrix is None else matrix.astype(np.float16),
            quantizer.reconstruct_n(0, ivf.nlist).astype(np.float16),
            faiss.vector_to_array(ivf.pq.centroids),
            codes,
            ids,
            _bytes_of(*refine) if refine else b"",
            faiss.vector_to_array(refine[0].sq.trained) if refine else b"",
            store.rows,
            (store.dim, ivf.d, width, ivf.nlist, ivf.pq.M, len(store), store.rows.itemsize, int(ivf.by_residual)),
            level,
        )

    def search(
        self,
        xq: FloatArray,
        k: int,
        nprobe: int,
        shortlist: int,
        *,
        middle: int = 0,
        margin: float = NO_MARGIN,
        mask: Mask | None = None,
    ) -> Probed:
        """Find k rows a query.

        Args:
            xq: unit float32 [nq, D].
            k: answers a query, from 1 to the number of rows.
            nprobe: cells visited at most.
            shortlist: rows that are scored by the stored vectors, at least k; 0 to answer with the scores of codes.
            middle: rows that are scored by the bytes of the index first, at least k and the shortlist, where it
                has them (`refine=8`); 0 for none.
            margin: cells are visited whose centroid's score and this reach the shortlist, by what the nearest hold.
            mask: which rows may answer; all if None.
        """
        nq = len(xq)
        xq = np.ascontiguousarray(xq, dtype=np.float32)
        scores, ids = np.empty((nq, k), np.float32), np.empty((nq, k), np.int64)
        visited = np.empty(nq, np.int64)
        bitmap = b"" if mask is None or mask.bits is None else mask.bits

        def work(part: slice) -> None:
            self._cells.search(
                xq[part], k, nprobe, margin, middle, shortlist, bitmap, scores[part], ids[part], visited[part]
            )

        if nq <= FEWEST_AT_ONCE:
            work(slice(None))
        else:
            in_parts(work, nq, min(QUERIES_AT_ONCE, max(FEWEST_AT_ONCE, -(-nq // available_cores()))))
        return Probed(Neighbors(scores, ids), visited)


def suits(index: FaissIndex) -> bool:
    """Whether an index is of the kind that is searched here."""
    ivf = _parts(index)[0]
    if not isinstance(ivf, faiss.IndexIVFPQFastScan):
        return False
    return bool(ivf.pq.nbits == BITS and ivf.bbs == BLOCK and ivf.pq.M <= MOST_CODES)


def _parts(index: FaissIndex) -> tuple[FaissIndex, ...]:
    return family("ivf-pq").parts(unwrap(index)[1])


def _bytes_of(refine: FaissIndex) -> NDArray[np.uint8]:
    """Return the codes of all rows [n, d], in FAISS' own memory."""
    size = refine.codes.size()
    codes: NDArray[np.uint8] = faiss.rev_swig_ptr(refine.codes.data(), size) if size else np.empty(0, np.uint8)
    return codes


def _cell(ivf: FaissIndex, cell: int) -> tuple[NDArray[np.uint8], IdArray]:
    """Return the codes and row numbers of a cell, in FAISS' own memory."""
    size = ivf.invlists.list_size(cell)
    if not size:
        return np.empty(0, np.uint8), np.empty(0, np.int64)
    codes = -(-size // BLOCK) * BLOCK * ivf.M2 // 2
    lists = ivf.invlists
    return faiss.rev_swig_ptr(lists.get_codes(cell), codes), faiss.rev_swig_ptr(lists.get_ids(cell), size)
