"""Figures of merit, one value a query."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from indexers.base import MISSING, Neighbors
from indexers.vectors import FloatArray, IdArray

Values = NDArray[np.float64]
TOLERANCE = 1e-6
"""How close two scores must be to tie; as in `indexers.exact.recall`."""


def found_share(found: IdArray, truth: Neighbors, scores: FloatArray) -> Values:
    """Return the share of each query's true answers that were found; `indexers.exact.recall` query by query.

    Args:
        found: int64 [nq, s], s ≥ k.
        truth: exact answers [nq, k].
        scores: float32 [nq, s], exact scores of `found`: an answer that ties with the k-th true one counts.

    Returns:
        float64 [nq]; 1 where there is nothing to find.
    """
    there = truth.ids != MISSING
    counted = np.zeros(found.shape, dtype=bool)
    for column in range(truth.ids.shape[1]):
        counted |= (found == truth.ids[:, column : column + 1]) & there[:, column : column + 1]
    kth = np.where(there, truth.scores, np.inf).min(axis=1, initial=np.inf)
    counted |= (found != MISSING) & (scores >= kth[:, None] - TOLERANCE)
    wanted = there.sum(axis=1)
    share: Values = np.minimum(counted.sum(axis=1), wanted) / np.maximum(wanted, 1)
    share[wanted == 0] = 1.0
    return share


def average_precision(relevant: NDArray[np.bool_]) -> Values:
    """Return AP@k of answers as the authors of Matryoshka Representation Learning compute it.

    The sum of the precisions at the ranks of the right answers, divided by k, whatever the number of right answers
    there are: with fewer than k of them 1 cannot be reached. (Kusupati et al., 2022, arXiv:2205.13147;
    `compute_mAP_recall_at_k` in retrieval/compute_metrics.py of their repository. Others divide by
    min(k, right answers there are), or by the right ones that were found.)

    Args:
        relevant: bool [nq, k], best first; False where there is no answer.

    Returns:
        float64 [nq].
    """
    k = relevant.shape[1]
    precision = np.cumsum(relevant, axis=1) / np.arange(1, k + 1)
    result: Values = (precision * relevant).sum(axis=1) / k
    return result


def rank_of_first(scores: FloatArray, relevant: IdArray) -> float:
    """Return the rank, from 1, of the best right candidate of one query.

    Wrong candidates that tie with it are counted half, as if it stood in the middle of them: a representation that
    gives everything the same score gains nothing by it.

    Args:
        scores: float32 [n].
        relevant: int64 [m], the right ones, m ≥ 1.
    """
    best = scores[relevant].max()
    above = int((scores > best + TOLERANCE).sum())
    level = int((scores >= best - TOLERANCE).sum()) - above
    right_level = int((scores[relevant] >= best - TOLERANCE).sum())
    return 1 + above + (level - right_level) / 2
