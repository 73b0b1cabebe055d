"""Exact nearest rows by a prefix, with queries left out of their own answers."""

from __future__ import annotations

import numpy as np

from engine.evaluation.representations import Representation
from engine.planning.queries import QuerySet
from indexers.base import MISSING, Neighbors, cosines
from indexers.vectors import FloatArray, IdArray, truncate
from indexers.without_own import without_own

# A block of gathered vectors or of scores; bounds memory whatever the number of queries.
BLOCK_BYTES = 64 << 20


def nearest(representation: Representation, queries: QuerySet, dim: int, k: int) -> Neighbors:
    """Return the k rows whose first `dim` numbers are closest to each query's.

    Args:
        representation: holds the rows.
        queries: one of its sets.
        dim: prefix dimension; prefixes of both sides are renormalised.
        k: answers a query.

    Returns:
        Neighbors [nq, k] by cosine over the prefix; a query's own row is never among them. Id −1 and score −inf
        where there are fewer rows.
    """
    import faiss

    base = truncate(representation.base, dim)
    wanted = min(k + (queries.own is not None), len(base))
    scores, ids = faiss.knn(truncate(queries.xq, dim), base, wanted, metric=faiss.METRIC_INNER_PRODUCT)
    return without_own(cosines(scores, ids), queries.own, k)


def scores_of(base: FloatArray, xq: FloatArray, ids: IdArray) -> FloatArray:
    """Score given rows for each query at full dimension.

    Args:
        base: unit float32 [n, D].
        xq: unit float32 [nq, D].
        ids: int64 [nq, s]; −1 where there is none.

    Returns:
        float32 [nq, s], −inf where there is none.
    """
    scores = np.empty(ids.shape, np.float32)
    step = max(1, BLOCK_BYTES // (4 * base.shape[1] * max(1, ids.shape[1])))
    for start in range(0, len(xq), step):
        part = slice(start, start + step)
        rows = base[np.maximum(ids[part], 0)]
        scores[part] = np.einsum("qsd,qd->qs", rows, xq[part])
    scores[ids == MISSING] = -np.inf
    return cosines(scores, ids).scores
