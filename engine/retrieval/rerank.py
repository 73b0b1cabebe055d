"""Score candidates again by longer prefixes: the middle of a funnel.

The common plan, one stage at full dimension, runs inside FAISS (`searcher`). Funnels with
more stages, and answers that stop at a prefix, come here.
"""

from __future__ import annotations

import numpy as np

from indexers.base import MISSING, Neighbors, cosines
from indexers.store import VectorStore
from indexers.vectors import FloatArray, IdArray, truncate

# Candidates gathered at once stay within a size that the second-level cache and memory like.
BLOCK_BYTES = 32 << 20


def rerank(
    store: VectorStore, xq: FloatArray, candidates: IdArray, dim: int, k: int, *, block_bytes: int = BLOCK_BYTES
) -> Neighbors:
    """Order candidates by their cosine with the query over the first `dim` numbers.

    Args:
        store: the stored vectors.
        xq: unit float32 [nq, D].
        candidates: int64 [nq, s] row numbers, −1 where there is none.
        dim: prefix dimension; prefixes of both sides are renormalised (`vectors.truncate`),
            stored full vectors are taken as they are.
        k: answers a query.
        block_bytes: how much is gathered at once.

    Returns:
        Neighbors [nq, min(k, s)].
    """
    keep = min(k, candidates.shape[1])
    prefixes = truncate(xq, dim)
    scores = np.empty((len(xq), keep), dtype=np.float32)
    rows = np.empty((len(xq), keep), dtype=np.int64)
    block = max(1, block_bytes // (4 * dim * max(1, candidates.shape[1])))
    for start in range(0, len(xq), block):
        part = slice(start, start + block)
        scores[part], rows[part] = _rerank_block(store, prefixes[part], candidates[part], dim, keep)
    return cosines(scores, rows)


def _rerank_block(store: VectorStore, xq: FloatArray, candidates: IdArray, dim: int, keep: int) -> Neighbors:
    vectors = store.gather(np.maximum(candidates, 0), dim)
    scores = np.matmul(vectors, xq[:, :, None])[:, :, 0]
    if dim < store.dim:
        norms = np.sqrt(np.einsum("qsd,qsd->qs", vectors, vectors))
        norms[norms == 0] = 1.0
        scores /= norms
    scores[candidates == MISSING] = -np.inf
    return best(scores, candidates, keep)


def best(scores: FloatArray, rows: IdArray, k: int) -> Neighbors:
    """Keep the k best columns of each row, in order; ties keep their order of arrival."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return Neighbors(np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1))


def scan_prefix(
    store: VectorStore, xq: FloatArray, k: int, dim: int, rows: IdArray, *, block_bytes: int = BLOCK_BYTES
) -> Neighbors:
    """Score every one of `rows` by the first `dim` numbers: exact at that prefix.

    Args:
        store: the stored vectors.
        xq: unit float32 [nq, D].
        k: answers a query.
        dim: prefix dimension.
        rows: int64 [m], row numbers that may be answered.
        block_bytes: how much is scored at once.

    Returns:
        Neighbors [nq, k], id −1 where there are fewer rows.
    """
    scores = np.full((len(xq), k), -np.inf, dtype=np.float32)
    found = np.full((len(xq), k), MISSING, dtype=np.int64)
    prefixes = truncate(xq, dim)
    step = max(1, block_bytes // (4 * max(dim, len(xq))))
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        block = prefixes @ truncate(store.gather(part), dim).T
        named = np.broadcast_to(part, block.shape)
        scores, found = best(np.concatenate([scores, block], axis=1), np.concatenate([found, named], axis=1), k)
    return cosines(scores, found)
