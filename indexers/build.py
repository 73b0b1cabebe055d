"""Train an index on a sample of a store's rows and stream them into it, block by block."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from functools import partial
from typing import Literal, NamedTuple

import numpy as np

from indexers import codebooks, gpu
from indexers.base import AXES, FaissIndex, IndexSpec
from indexers.errors import InvalidSpec, InvalidVectors
from indexers.families.registry import family
from indexers.mask import Mask
from indexers.prefix import trained_front, wrap
from indexers.store import BLOCK_ROWS, Blocks, VectorStore
from indexers.vectors import FloatArray, IdArray

_log = logging.getLogger("nestvec")

BuildDevice = Literal["auto", "cpu", "cuda"]

# FAISS samples no more than 256 rows a cell for k-means; more would be read for nothing.
ROWS_PER_CELL = 256
MAX_TRAINING_BYTES = 1 << 30


def training_rows(spec: IndexSpec, n: int, full_dim: int) -> int:
    """Return how many rows of `n` are worth training on, within a gigabyte; none where nothing is learned."""
    indexer = family(spec.family)
    if not indexer.needs_training and not dict(spec.params).get(AXES):
        return 0
    wanted = max(indexer.cells(spec) * ROWS_PER_CELL, 65_536)
    return min(n, wanted, MAX_TRAINING_BYTES // (4 * full_dim))


def build(
    spec: IndexSpec,
    store: VectorStore,
    *,
    mask: Mask | None = None,
    queries: FloatArray | None = None,
    seed: int = 0,
    device: BuildDevice = "auto",
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

    Returns:
        a trained FAISS index over full vectors [n, D], in host memory.

    Raises:
        InvalidSpec: "cuda" was asked for and there is none.
        InvalidVectors: too few training rows for the spec.
    """
    run = partial(_build, spec, store, mask, queries, seed)
    if _use_gpu(device):
        try:
            return run(on_gpu=True)
        except RuntimeError as error:
            if not gpu.is_out_of_memory(error):
                raise
            _log.warning("the GPU's memory does not hold %s; building it on the CPU", spec)
    return run(on_gpu=False)


def _build(
    spec: IndexSpec, store: VectorStore, mask: Mask | None, queries: FloatArray | None, seed: int, *, on_gpu: bool
) -> FaissIndex:
    sample = _training_sample(spec, store, mask, queries, seed)
    front = trained_front(spec, sample.x)
    prefixes = front(sample.x)
    inner = _trained(spec, prefixes, on_gpu=on_gpu)
    # Rows are not turned again, nor is what nobody looks at again held while the index grows.
    blocks = iter(Blocks(prefixes[: len(store)])) if sample.whole else map(front, Blocks(store.rows))
    del sample, prefixes
    filled = inner
    if on_gpu and family(spec.family).on_device:
        filled = gpu.to_gpu(inner)
    else:
        _reserve(inner, spec, len(store))
    for block in blocks:
        filled.add(block)
    return wrap(gpu.to_cpu(filled) if filled is not inner else inner, front)


class _Sample(NamedTuple):
    """What an index learns from.

    Attributes:
        x: unit float32 [nt, D]; read-only where it is the store's own memory.
        whole: whether it begins with every row of the store, in order.
    """

    x: FloatArray
    whole: bool


def _training_sample(
    spec: IndexSpec, store: VectorStore, mask: Mask | None, queries: FloatArray | None, seed: int
) -> _Sample:
    """Draw rows to train an index on: at most `training_rows`, and the queries after them. See `build`."""
    # A number for the pool, where it is everything: the draw is the same, and no row numbers are written down.
    pool: int | IdArray = len(store)
    if mask is not None and len(store) > mask.count >= max(1, family(spec.family).cells(spec)):
        pool = mask.numbers
    size = training_rows(spec, pool if isinstance(pool, int) else len(pool), store.dim)
    more = 0 if queries is None or not size else len(queries)
    whole = size == len(store)
    if whole and not more and store.rows.dtype == np.float32:
        return _Sample(store.rows, whole)
    rows = np.sort(np.random.default_rng(seed).choice(pool, size, replace=False))
    # Filled in place: parts that are put together exist twice, and this is up to a gigabyte.
    x = np.empty((size + more, store.dim), dtype=np.float32)
    for start in range(0, size, BLOCK_ROWS):
        part = slice(start, min(start + BLOCK_ROWS, size))
        # All of them are not gathered first, and then copied.
        x[part] = store.rows[part] if whole else store.gather(rows[part])
    if more:
        x[size:] = queries
    return _Sample(x, whole)


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
