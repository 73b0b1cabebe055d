"""Train an index on a sample of a store's rows and stream them into it, block by block."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Literal

import numpy as np

from indexers import codebooks, gpu
from indexers.axes import moments_of, principal_axes
from indexers.base import AXES, FaissIndex, IndexSpec
from indexers.cells import FROM
from indexers.errors import InvalidSpec, InvalidVectors, NotEnoughMemory
from indexers.families.registry import FAMILIES, family, resolve
from indexers.mask import Mask
from indexers.memory import memory_left, shown_bytes
from indexers.prefix import Front, front_along, wrap
from indexers.store import BLOCK_ROWS, Blocks, VectorStore
from indexers.vectors import FloatArray, IdArray

_log = logging.getLogger("nestvec")

BuildDevice = Literal["auto", "cpu", "cuda"]

# FAISS samples no more than 256 rows a cell for k-means; more would be read for nothing. Of many cells, half as many
# rows find centres as good.
ROWS_PER_CELL, ROWS_PER_CELL_OF_MANY = 256, 128
FEWEST = 65_536
# Of what is learned from: prefixes, as float32. The rows they are of are read a block at a time.
MAX_TRAINING_BYTES = 512 << 20
# What FAISS, BLAS and the allocator take whatever the size; measured, and rounded up.
FIXED = 48 << 20
# Row numbers are drawn from all rows to choose a sample.
DRAWN = 16
# Where FAISS assigns training rows to cells: a number and a distance each.
ASSIGNED = 16
SHORTEST = 16


def training_rows(spec: IndexSpec, n: int) -> int:
    """Return how many rows of `n` are worth training on; none where nothing is learned."""
    indexer = family(spec.family)
    if not indexer.needs_training and not dict(spec.params).get(AXES):
        return 0
    cells = indexer.cells(spec)
    wanted = max(cells * (ROWS_PER_CELL if cells < FROM else ROWS_PER_CELL_OF_MANY), FEWEST)
    return min(n, wanted, MAX_TRAINING_BYTES // (4 * spec.dim))


def build(
    spec: IndexSpec,
    store: VectorStore,
    *,
    mask: Mask | None = None,
    queries: FloatArray | None = None,
    seed: int = 0,
    device: BuildDevice = "auto",
    added: Callable[[int], None] = lambda rows: None,
) -> FaissIndex:
    """Build one prefix index of a store's rows.

    Args:
        spec: a resolved spec.
        store: the rows, unit [n, D]; read in blocks, and never all held but as prefixes of a sample that is all rows.
        mask: which rows may ever answer; all if None. The others are added like them, and serve to train too where
            there are fewer live ones than cells: they lie in the index until the next compaction.
        queries: unit float32 [m, D], some of the kind that will be asked. Where they are not like the rows (text
            embeddings, say), training on them too makes cells that serve them.
        seed: of the draw of rows to train on.
        device: where to build. "auto" takes a GPU when FAISS has one, and the CPU when its memory runs out.
        added: hears how many rows were added, block by block.

    Returns:
        a trained FAISS index over full vectors [n, D], in host memory.

    Raises:
        InvalidSpec: "cuda" was asked for and there is none.
        InvalidVectors: too few training rows for the spec.
    """
    run = partial(_build, spec, store, mask, queries, seed, added)
    if _use_gpu(device):
        try:
            return run(on_gpu=True)
        except RuntimeError as error:
            if not gpu.is_out_of_memory(error):
                raise
            _log.warning("the GPU's memory does not hold %s; building it on the CPU", spec)
    return run(on_gpu=False)


def _build(
    spec: IndexSpec,
    store: VectorStore,
    mask: Mask | None,
    queries: FloatArray | None,
    seed: int,
    added: Callable[[int], None],
    *,
    on_gpu: bool,
) -> FaissIndex:
    sample = _Sample(spec, store, mask, queries, seed)
    front = sample.front()
    prefixes = sample.prefixes(front)
    inner = _trained(spec, prefixes, on_gpu=on_gpu)
    # Rows are not turned again, nor is what nobody looks at again held while the index grows.
    blocks = iter(Blocks(prefixes[: len(store)])) if sample.is_whole else map(front, Blocks(store.rows))
    del prefixes
    filled = inner
    if on_gpu and family(spec.family).on_device:
        filled = gpu.to_gpu(inner)
    else:
        _reserve(inner, spec, len(store))
    with family(spec.family).adding(inner) if filled is inner else nullcontext():
        for block in blocks:
            filled.add(block)
            added(len(block))
    return wrap(gpu.to_cpu(filled) if filled is not inner else inner, front)


class _Sample:
    """What an index learns from: rows of the store, at most `training_rows`, and the queries after them. See `build`.

    Attributes:
        is_whole: whether it begins with every row of the store, in order.
    """

    def __init__(
        self, spec: IndexSpec, store: VectorStore, mask: Mask | None, queries: FloatArray | None, seed: int
    ) -> None:
        # A number for the pool, where it is everything: the draw is the same, and no row numbers are written down.
        pool: int | IdArray = len(store)
        if mask is not None and len(store) > mask.count >= max(1, family(spec.family).cells(spec)):
            pool = mask.numbers
        size = training_rows(spec, pool if isinstance(pool, int) else len(pool))
        self._spec, self._store = spec, store
        self._rows = np.sort(np.random.default_rng(seed).choice(pool, size, replace=False))
        self._queries = queries if size else None
        self.is_whole = size == len(store)

    def _blocks(self) -> Iterator[FloatArray]:
        """Yield full vectors, a block at a time: all of them may be many times what is kept of them."""
        for start in range(0, len(self._rows), BLOCK_ROWS):
            rows = self._rows[start : start + BLOCK_ROWS]
            # All rows are not gathered, but read as they lie.
            part = self._store.rows[start : start + len(rows)] if self.is_whole else self._store.gather(rows)
            yield np.asarray(part, dtype=np.float32)
        if self._queries is not None:
            yield self._queries

    def front(self) -> Front:
        """Return what rows go through before the index."""
        if not dict(self._spec.params).get(AXES):
            return Front(self._spec, self._store.dim)
        return front_along(self._spec, principal_axes(moments_of(self._blocks(), self._store.dim)))

    def prefixes(self, front: Front) -> FloatArray:
        """Return what the index would hold of them, float32 [nt, d]."""
        # Filled in place: parts that are put together exist twice.
        more = 0 if self._queries is None else len(self._queries)
        found, start = np.empty((len(self._rows) + more, self._spec.dim), dtype=np.float32), 0
        for block in self._blocks():
            found[start : start + len(block)] = front(block)
            start += len(block)
        return found


def _use_gpu(device: BuildDevice) -> bool:
    if device == "cuda" and not gpu.gpu_count():
        raise InvalidSpec("a build on cuda was asked for, and FAISS sees no GPU; see `nestvec doctor`")
    return device != "cpu" and gpu.gpu_count() > 0


def _trained(spec: IndexSpec, prefixes: FloatArray, *, on_gpu: bool) -> FaissIndex:
    """Make the inner d-dimensional index and train it on prefixes [nt, d]."""
    indexer = family(spec.family)
    inner, cells = indexer.create(spec), max(1, indexer.cells(spec))
    if inner.is_trained:
        return inner
    if len(prefixes) < cells:
        raise InvalidVectors(f"{spec}: {cells} cells need at least as many training rows, found {len(prefixes)}")
    if 0 < len(prefixes) < codebooks.CENTROIDS:
        # A product code refuses to learn its 16 values from fewer rows; repeated ones add nothing.
        prefixes = np.resize(prefixes, (codebooks.CENTROIDS, spec.dim))
    with gpu.clustering(inner) if on_gpu else nullcontext():
        indexer.train(inner, prefixes)
    return inner


def _reserve(inner: FaissIndex, spec: IndexSpec, rows: int) -> None:
    """Make room for all rows at once: an array that grows by doubling exists twice whenever it does."""
    for array, size in family(spec.family).arrays(inner, spec, rows):
        # FAISS shows no way to reserve; what is cut to nothing keeps its room.
        array.resize(size)
        array.resize(0)


# -- what it takes ---------------------------------------------------------------------------
# Stored vectors and finished indexes are mapped, and count for nothing: the system drops them when it must. What counts
# is what a build holds: a training sample, a block of rows, and the index that grows.


def build_bytes(spec: IndexSpec, n: int, full_dim: int, queries: int = 0) -> int:
    """Return what building an index takes at its peak, about; never much less than it does.

    Args:
        spec: resolved.
        n: rows.
        full_dim: dimension D of the vectors.
        queries: how many are mixed into the training sample.
    """
    d = spec.dim
    rows = training_rows(spec, n)
    trained = rows + queries
    prefixes = trained * d * 4
    # Stored rows, as float32, and as prefixes before and after they are scaled or turned; or all as prefixes already.
    block = min(n, BLOCK_ROWS) * (2 * full_dim + 3 * d) * 4 + (prefixes if rows == n else 0)
    # The covariance of the sample in double precision, and what it is taken apart into.
    axes = 6 * full_dim**2 * 8 if dict(spec.params).get(AXES) else 0
    training = trained * ASSIGNED + 2 * prefixes + axes + BLOCK_ROWS * full_dim * 8
    return FIXED + max(DRAWN * n, training, family(spec.family).growing_bytes(spec, n) + block)


def pruned_build_bytes(sampled: int, full_dim: int) -> int:
    """Return what building an index for exact search takes at its peak: a sample of rows, and turned, four times."""
    return FIXED + 4 * 4 * sampled * full_dim + 12 * full_dim**2 * 8


def require_memory(spec: IndexSpec, n: int, full_dim: int, queries: int = 0) -> None:
    """Refuse to build an index for which there is no memory.

    Args:
        spec: resolved.
        n: rows.
        full_dim: dimension D of the vectors.
        queries: how many are mixed into the training sample.

    Raises:
        NotEnoughMemory: it would take more than there is; says how much, and what would fit.
    """
    left = memory_left()
    needed = build_bytes(spec, n, full_dim, queries)
    if left is None or needed <= left.bytes:
        return
    other = smaller(spec, n, full_dim, queries, left.bytes)
    remedy = (
        "no index fits; give it more memory"
        if other is None
        else f"{other.key} would fit, with {shown_bytes(build_bytes(other, n, full_dim, queries))}: --index {other.key}"
    )
    raise NotEnoughMemory(
        f"building {spec.key} over {n:,} rows needs {shown_bytes(needed)} of memory, and {shown_bytes(left.bytes)} "
        f"are left ({left.why}); {remedy}"
    )


def smaller(spec: IndexSpec, n: int, full_dim: int, queries: int, most: int) -> IndexSpec | None:
    """Return a resolved index that is built within so many bytes: of the same family if any is, else of another.

    Of those that fit it is the one with the longest prefix, up to the one asked for.
    """
    dims, d = [], spec.dim
    while d >= min(SHORTEST, spec.dim):
        dims.append(d)
        d //= 2
    axes = tuple(one for one in spec.params if one[0] == AXES)
    for name in (spec.family, *(one for one in FAMILIES if one != spec.family)):
        for d in dims:
            with contextlib.suppress(InvalidSpec):
                other = resolve(IndexSpec(name, d, axes), n, full_dim)
                if build_bytes(other, n, full_dim, queries) <= most:
                    return other
    return None
