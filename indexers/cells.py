"""Many cells in little time: k-means in two levels, and rows that are sorted into cells by looking at a few groups.

To compare every row with every centroid takes n·nlist steps a round: with a few thousand cells that is nearly all of a
build. Rows are first put into √nlist groups, and each group into its own cells; a few rounds over all of them, in which
a row is compared with the cells of the nearest groups alone, put right what lay across the edge of a group. It is the
hierarchical k-means of Nistér & Stewénius (2006, CVPR), two levels deep.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import faiss
import numpy as np
from numpy.typing import NDArray

from indexers.base import FaissIndex
from indexers.vectors import FloatArray, IdArray

FROM = 1024
"""Cells from which on two levels are worth it."""

ROUNDS, POLISHED = 8, 3
LOOKED_AT = 8
"""Groups, the nearest, whose cells a row is compared with."""

ROWS_PER_GROUP = 256
BLOCK_ROWS = 65_536


def centroids_of(x: FloatArray, nlist: int, seed: int) -> FloatArray:
    """Return unit centroids of cells, float32 [nlist, d], for rows [n, d] with n ≥ nlist."""
    groups = round(math.sqrt(nlist))
    means = _means(x, groups, seed, ROWS_PER_GROUP)
    own = _nearest(means, x)
    sizes = np.bincount(own, minlength=groups)
    order, ends = np.argsort(own, kind="stable"), np.cumsum(sizes)
    found = [
        _means(x[order[end - size : end]], cells, seed, ROWS_PER_GROUP)
        for size, end, cells in zip(sizes.tolist(), ends.tolist(), shared(sizes, nlist).tolist(), strict=True)
        if cells
    ]
    centroids = np.concatenate(found)
    for _ in range(POLISHED):
        centroids = _polished(centroids, x)
    return centroids


def shared(sizes: NDArray[np.int64], cells: int) -> NDArray[np.int64]:
    """Share cells out to groups by how many rows they have: none to an empty one, and to none more than its rows."""
    exact = sizes * (cells / sizes.sum())
    found: NDArray[np.int64] = np.minimum(np.maximum(np.floor(exact).astype(np.int64), sizes > 0), sizes)
    while (left := cells - int(found.sum())) != 0:
        room = found < sizes if left > 0 else found > 1
        wanted = np.where(room, exact - found if left > 0 else found - exact, -np.inf)
        some = np.argsort(-wanted, kind="stable")[: min(abs(left), int(room.sum()))]
        found[some] += 1 if left > 0 else -1
    return found


def _means(x: FloatArray, count: int, seed: int, rows_each: int) -> FloatArray:
    if count >= len(x):
        return np.ascontiguousarray(x[:count])
    means = faiss.Kmeans(
        x.shape[1], count, niter=ROUNDS, seed=seed, spherical=True, min_points_per_centroid=1,
        max_points_per_centroid=rows_each,
    )  # fmt: skip
    means.train(x)
    found: FloatArray = means.centroids
    return found


def _nearest(centroids: FloatArray, x: FloatArray) -> IdArray:
    index = faiss.IndexFlatIP(centroids.shape[1])
    index.add(centroids)
    own: IdArray = index.assign(x, 1)[:, 0]
    return own


def _polished(centroids: FloatArray, x: FloatArray) -> FloatArray:
    """Do a round of k-means by the nearest groups; a cell without rows stays where it is."""
    own = quick_quantizer(centroids).assign(x, 1)[:, 0]
    moved = np.zeros_like(centroids)
    for start in range(0, len(x), BLOCK_ROWS):
        block, cells = x[start : start + BLOCK_ROWS], own[start : start + BLOCK_ROWS]
        order = np.argsort(cells, kind="stable")
        present, starts = np.unique(cells[order], return_index=True)
        moved[present] += np.add.reduceat(block[order], starts, axis=0)
    faiss.normalize_L2(moved)
    # Rows that cancel each other out have no direction; the cell keeps the one it had.
    lost = ~(np.linalg.norm(moved, axis=1) > 0.5)
    moved[lost] = centroids[lost]
    return moved


def quick_quantizer(centroids: FloatArray) -> FaissIndex:
    """Return a FAISS index that finds nearly the nearest of many centroids [nlist, d], by inner product."""
    groups, d = round(math.sqrt(len(centroids))), centroids.shape[1]
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(d), d, groups, faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid = 1
    index.train(centroids)
    index.add(centroids)
    index.make_direct_map()
    index.nprobe = min(LOOKED_AT, groups)
    return index


@contextmanager
def sorted_quickly(ivf: FaissIndex) -> Iterator[None]:
    """Let an index with many cells find those of new rows by groups, for as long as a block takes."""
    usual = ivf.quantizer
    if ivf.nlist < FROM:
        yield
        return
    centroids = faiss.downcast_index(usual).reconstruct_n(0, ivf.nlist)
    quick, owned = quick_quantizer(centroids), ivf.own_fields
    ivf.own_fields = False
    ivf.quantizer = quick
    try:
        yield
    finally:
        ivf.quantizer = usual
        ivf.own_fields = owned
