"""Train an index on a sample and stream rows into it, block by block."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import Literal

import faiss
import numpy as np

from indexers import codebooks, gpu
from indexers.base import AXES, FaissIndex, IndexSpec
from indexers.errors import InvalidSpec, InvalidVectors
from indexers.ivf import parts_of
from indexers.prefix import Front, codes_of, trained_front, wrap
from indexers.registry import family
from indexers.store import BLOCK_ROWS, Blocks, VectorStore
from indexers.vectors import FloatArray, IdArray

_log = logging.getLogger("nestvec")

BuildDevice = Literal["auto", "cpu", "cuda"]

# FAISS samples no more than 256 rows a cell for k-means; more would be read for nothing.
ROWS_PER_CELL = 256
MAX_TRAINING_BYTES = 1 << 30
# Nothing about these is learned, unless they are of principal axes.
UNTRAINED = ("flat", "hnsw")
# Links of a row above the ground floor of a graph, by how many more there may be than expected.
MORE_LINKS = 1.05


def training_rows(spec: IndexSpec, n: int, full_dim: int) -> int:
    """Return how many rows of `n` are worth training on, within a gigabyte; none where nothing is learned."""
    params = dict(spec.params)
    if spec.family in UNTRAINED and not params.get(AXES):
        return 0
    wanted = max(params.get("nlist", 1) * ROWS_PER_CELL, 65_536)
    return min(n, wanted, MAX_TRAINING_BYTES // (4 * full_dim))


def training_sample(
    spec: IndexSpec, store: VectorStore, dead: IdArray, queries: FloatArray | None = None, seed: int = 0
) -> FloatArray:
    """Draw rows to train an index on.

    Args:
        spec: resolved.
        store: the rows [n, D].
        dead: int64 [m], rows that nobody will find. They serve too where there are fewer live ones than cells: they lie
            in the index until the next compaction.
        queries: unit float32 [nt, D], some that are not like the rows, so that there are cells for them too.
        seed: of the draw.

    Returns:
        float32 [at most `training_rows` and the queries, D].
    """
    living = len(store) - len(dead)
    # A number for the pool, where it is everything: the draw is the same, and no row numbers are written down.
    pool: int | IdArray = len(store)
    if len(dead) and living >= max(1, dict(spec.params).get("nlist", 1)):
        mask = np.ones(len(store), dtype=bool)
        mask[dead] = False
        pool = np.flatnonzero(mask)
    size = training_rows(spec, pool if isinstance(pool, int) else len(pool), store.dim)
    rows = np.sort(np.random.default_rng(seed).choice(pool, size, replace=False))
    more = 0 if queries is None or not size else len(queries)
    # Filled in place: parts that are put together exist twice, and this is up to a gigabyte.
    sample = np.empty((size + more, store.dim), dtype=np.float32)
    for start in range(0, size, BLOCK_ROWS):
        part = slice(start, min(start + BLOCK_ROWS, size))
        # All of them are not gathered first, and then copied.
        sample[part] = store.rows[part] if size == len(store) else store.gather(rows[part])
    if more:
        sample[size:] = queries
    return sample


def build(
    spec: IndexSpec,
    blocks: Iterable[FloatArray],
    xt: FloatArray,
    *,
    device: BuildDevice = "auto",
) -> FaissIndex:
    """Build one prefix index.

    Args:
        spec: a resolved spec.
        blocks: the base vectors in order, each unit float32 [rows, D]; never all held. Read once, and once
            more on the CPU when a GPU's memory runs out, if they can be (an iterator cannot).
        xt: training sample, unit float32 [nt, D]. Mixing in queries of the kind that will be
            asked (text embeddings, say) makes cells that serve them too.
        device: where to build. "auto" takes a GPU when FAISS has one.

    Returns:
        a trained FAISS index over full vectors [n, D], in host memory.

    Raises:
        InvalidSpec: "cuda" was asked for and there is none.
        InvalidVectors: too few training rows for the spec, or blocks of another dimension.
    """
    if _use_gpu(device):
        try:
            return _build(spec, blocks, xt, on_gpu=True)
        except RuntimeError as error:
            if not gpu.is_out_of_memory(error) or iter(blocks) is blocks:
                raise
            _log.warning("the GPU's memory does not hold %s; building it on the CPU", spec)
    return _build(spec, blocks, xt, on_gpu=False)


def _build(spec: IndexSpec, blocks: Iterable[FloatArray], xt: FloatArray, *, on_gpu: bool) -> FaissIndex:
    front = trained_front(spec, xt)
    inner = _trained(front, xt, on_gpu=on_gpu)
    filled = inner
    if on_gpu and spec.family in gpu.ON_DEVICE:
        filled = gpu.to_gpu(inner)
    elif isinstance(blocks, Blocks):
        _reserve(inner, spec, len(blocks.rows))
    add(filled, front, blocks)
    return wrap(gpu.to_cpu(filled) if filled is not inner else inner, front)


def _use_gpu(device: BuildDevice) -> bool:
    if device == "cuda" and not gpu.gpu_count():
        raise InvalidSpec("a build on cuda was asked for, and FAISS sees no GPU; see `nestvec doctor`")
    return device != "cpu" and gpu.gpu_count() > 0


def _trained(front: Front, xt: FloatArray, *, on_gpu: bool) -> FaissIndex:
    """Make the inner d-dimensional index and train it on prefixes of `xt`."""
    spec = front.spec
    inner = family(spec.family).create(spec)
    if inner.is_trained:
        return inner
    nlist = dict(spec.params).get("nlist", 1)
    if len(xt) < nlist:
        raise InvalidVectors(f"{spec}: {nlist} cells need at least as many training rows, found {len(xt)}")
    cells = _allow_small_clusters(inner)
    prefixes = front(xt)
    if 0 < len(xt) < codebooks.CENTROIDS:
        # A product code refuses to learn its 16 values from fewer rows; repeated ones add nothing.
        prefixes = np.resize(prefixes, (codebooks.CENTROIDS, spec.dim))
    with gpu.clustering(inner) if on_gpu else nullcontext():
        if isinstance(cells, faiss.IndexIVFPQFastScan):
            cells.train_q1(len(prefixes), faiss.swig_ptr(prefixes), False, cells.metric_type)
            codebooks.begin(cells, prefixes)
        inner.train(prefixes)
    return inner


def _reserve(inner: FaissIndex, spec: IndexSpec, rows: int) -> None:
    """Make room for all rows at once: an array that grows by doubling exists twice whenever it does."""
    codes = codes_of(inner)
    wanted = [(codes.codes, rows * codes.code_size)] if isinstance(codes, faiss.IndexFlatCodes) else []
    if isinstance(inner, faiss.IndexHNSW):
        m = dict(spec.params)["m"]
        wanted.append((inner.hnsw.neighbors, int(rows * (2 * m + m / (m - 1) * MORE_LINKS)) + 64 * m))
    for array, size in wanted:
        # FAISS shows no way to reserve; what is cut to nothing keeps its room.
        array.resize(size)
        array.resize(0)


def _allow_small_clusters(inner: FaissIndex) -> FaissIndex:
    """Stop FAISS from warning on stderr about small collections: `default_nlist` already saw to it.

    Returns:
        the part of the index that has cells, if any has.
    """
    cells = parts_of(inner).cells
    if isinstance(cells, faiss.IndexIVF):
        cells.cp.min_points_per_centroid = 1
    if isinstance(cells, faiss.IndexIVFPQFastScan):
        cells.pq.cp.min_points_per_centroid = 1
    return cells


def add(inner: FaissIndex, front: Front, blocks: Iterable[FloatArray]) -> None:
    """Add full vectors [rows, D] to an unwrapped index as prefixes.

    Raises:
        InvalidVectors: a block of other dimensions than the front takes.
    """
    for block in blocks:
        if block.shape[1] != front.full_dim:
            raise InvalidVectors(
                f"{front.spec}: expected blocks of {front.full_dim} dimensions, found {block.shape[1]}"
            )
        if len(block):
            inner.add(front(block))


def sample_blocks(blocks: Iterable[FloatArray], n: int, size: int, seed: int) -> FloatArray:
    """Draw `size` of `n` rows without replacement while streaming over them.

    Args:
        blocks: float32 [rows, D] blocks, `n` rows in all.
        n: number of rows in all blocks.
        size: rows wanted; all of them when size ≥ n.
        seed: of the choice.

    Returns:
        float32 [min(size, n), D] in the order of the blocks.
    """
    if size >= n:
        chosen = np.arange(n)
    else:
        chosen = np.sort(np.random.default_rng(seed).choice(n, size, replace=False))
    return np.concatenate(list(_pick(blocks, chosen)))


def _pick(blocks: Iterable[FloatArray], chosen: np.ndarray) -> Iterator[FloatArray]:
    start = 0
    for block in blocks:
        low, high = np.searchsorted(chosen, (start, start + len(block)))
        yield block[chosen[low:high] - start]
        start += len(block)
