"""Brute force in NumPy: the oracle every approximate path is compared with.

It shares no code with the indexes it judges.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from indexers.base import MISSING, Neighbors, cosines
from indexers.vectors import FloatArray, IdArray

TIE = 1e-6
"""How close two scores must be to tie."""


def exact_search(
    xb: FloatArray, xq: FloatArray, k: int, *, ids: IdArray | None = None, block: int = 65_536
) -> Neighbors:
    """Return the k rows of `xb` with the highest cosine, ties by lower row first.

    Args:
        xb: float32 [n, D], of unit length but for how they were rounded.
        xq: unit float32 [nq, D].
        k: answers a query, ≥ 1.
        ids: int64 [n], what to call the rows; their numbers by default.
        block: rows multiplied at once, to bound memory.

    Returns:
        Neighbors [nq, k]; missing answers have id −1 and score −inf.
    """
    nq = len(xq)
    scores = np.full((nq, k), -np.inf, dtype=np.float32)
    rows = np.full((nq, k), MISSING, dtype=np.int64)
    for start in range(0, len(xb), block):
        part = xq @ xb[start : start + block].T
        numbers = np.arange(start, start + part.shape[1], dtype=np.int64)
        scores = np.concatenate([scores, part], axis=1)
        rows = np.concatenate([rows, np.broadcast_to(numbers, part.shape)], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        scores = np.take_along_axis(scores, order, axis=1)
        rows = np.take_along_axis(rows, order, axis=1)
    if ids is not None and len(ids):
        rows = np.where(rows == MISSING, MISSING, ids[rows])
    return cosines(scores, rows)


def shares_found(
    found: IdArray, truth: Neighbors, *, scores: FloatArray | None = None, tol: float = TIE
) -> NDArray[np.float64]:
    """Return, for each query, the share of its true answers that were found.

    Args:
        found: int64 [nq, k'], k' ≥ k of `truth`.
        truth: exact answers [nq, k].
        scores: float32 [nq, k'], exact scores of `found`; when given, an answer that ties
            with the k-th true one (to `tol`) counts, as it would be as right an answer.
        tol: how close two scores must be to tie.

    Returns:
        float64 [nq] in [0, 1]; 1 where there is nothing to find.
    """
    counted, wanted = _counts(found, truth, scores, tol)
    return np.where(wanted > 0, counted / np.maximum(wanted, 1), 1.0)


def recall(found: IdArray, truth: Neighbors, *, scores: FloatArray | None = None, tol: float = TIE) -> float:
    """Return recall@k: the share of true answers that were found, over all queries; see `shares_found`.

    Returns:
        a share in [0, 1]; 1.0 when there is nothing to find.
    """
    counted, wanted = _counts(found, truth, scores, tol)
    total = int(wanted.sum())
    return float(counted.sum() / total) if total else 1.0


def _counts(
    found: IdArray, truth: Neighbors, scores: FloatArray | None, tol: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    hits = (found[:, :, None] == truth.ids[:, None, :]) & (truth.ids != MISSING)[:, None, :]
    counted = hits.any(axis=2)
    if scores is not None:
        kth = np.where(truth.ids != MISSING, truth.scores, np.inf).min(axis=1, initial=np.inf)
        counted |= (found != MISSING) & (scores >= kth[:, None] - tol)
    wanted = (truth.ids != MISSING).sum(axis=1)
    return np.minimum(counted.sum(axis=1), wanted), wanted
