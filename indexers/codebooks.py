"""Product codes of four bits that begin where they end: at the best codebook for normally distributed numbers.

A prefix that was turned at random, or what is left of it when a centroid is taken off, has nearly normal parts. The 16
centroids that are best for a normal distribution (Max 1960, doi:10.1109/TIT.1960.1057548), stretched as the parts are,
and two rounds of k-means from there lose 1 to 2 % less of sentences and pictures than 25 rounds from random centroids
(some 15 % less with one number a code), in a tenth of the time. Parts that are not normal get as good a start as any.
"""

from __future__ import annotations

from functools import lru_cache

import faiss
import numpy as np

from indexers.base import FaissIndex
from indexers.vectors import FloatArray

CENTROIDS = 16
# As many rows as FAISS trains codes on.
ROWS_PER_CENTROID = 256
ROUNDS = 2
# Of 64 pairs tried for the normal codebooks, the one that comes nearest to the best at 1, 2 and 4 numbers a code alike,
# within a fiftieth. Four times as many draws come within a hundredth, in 27 ms in place of 4, and after two rounds on
# real vectors there is no difference.
SEED, DRAW_SEED = 5, 1
DRAWN = 4096
NORMAL_ROUNDS = 25


def begin(cells: FaissIndex, x: FloatArray) -> None:
    """Give an index of cells its codebooks to begin with; FAISS then refines them when it is trained.

    Args:
        cells: faiss.IndexIVFPQFastScan of which the coarse quantizer is trained.
        x: what it is trained on next, float32 [nt, d].
    """
    pq = cells.pq
    rows = np.random.default_rng(SEED).permutation(len(x))[: CENTROIDS * ROWS_PER_CENTROID]
    sample = x[np.sort(rows)]
    if cells.by_residual:
        own = cells.quantizer.assign(sample, 1)[:, 0]
        left = np.empty_like(sample)
        cells.quantizer.compute_residual_n(len(sample), *map(faiss.swig_ptr, (sample, left, own)))
        sample = left
    faiss.copy_array_to_vector(normal_codebooks(sample, pq.M).ravel(), pq.centroids)
    pq.train_type = faiss.ProductQuantizer.Train_hot_start
    pq.cp.niter = ROUNDS


def normal_codebooks(x: FloatArray, m: int) -> FloatArray:
    """Return the codebooks that would be best if each of m parts of the rows [n, d] were normal: [m, 16, d/m]."""
    parts = x.reshape(len(x), m, -1)
    mean = parts.mean(axis=0, keepdims=True)
    parts = np.ascontiguousarray((parts - mean).swapaxes(0, 1))
    values, axes = np.linalg.eigh(parts.swapaxes(1, 2) @ parts / len(x))
    # The symmetric root: whichever way round an axis is found, the codebook is the same.
    root = axes * np.sqrt(np.maximum(values, 0.0))[:, None, :] @ axes.swapaxes(1, 2)
    found: FloatArray = _normal(parts.shape[2]) @ root + mean.swapaxes(0, 1)
    return np.ascontiguousarray(found, dtype=np.float32)


@lru_cache(maxsize=8)
def _normal(width: int) -> FloatArray:
    """Return the centroids for a standard normal distribution: float32 [16, width]."""
    drawn = np.random.default_rng(DRAW_SEED).standard_normal((DRAWN, width), dtype=np.float32)
    means = faiss.Kmeans(width, CENTROIDS, niter=NORMAL_ROUNDS, seed=SEED, max_points_per_centroid=DRAWN)
    # Scattered first centroids (Bachem et al. 2016, arXiv:1603.04253): from random ones the best are not found.
    means.cp.init_method = faiss.ClusteringInitMethod_AFK_MC2
    means.train(drawn)
    found: FloatArray = means.centroids
    return found
