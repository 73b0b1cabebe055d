"""The rows that answer one query in the order of their scores, as many as somebody takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from indexers.base import MISSING, Neighbors
from indexers.vectors import FloatArray, IdArray

LEVELS = (256, 4096, 65536)
"""So many rows are searched for one after the other, and then all."""

BY_PLAN = 4096
"""So many rows, or four times as many as are wanted, are searched for at once by a plan that does not find all."""

BLOCK = 1024
"""Rows whose order is settled at once."""

MARGIN = 1e-5
"""Ways to compute a score differ by less than this: what lies nearer together is ordered by one of them."""

Search = Callable[[int], Neighbors]
"""Finds so many rows of one query, Neighbors [1, ≤ k]."""

Scores = Callable[[IdArray], NDArray[np.float64]]
"""Returns scores of rows, always the same for the same row."""


def in_order(search: Search, rows: int, scores: Scores, *, only: int | None = None) -> Iterator[tuple[int, float]]:
    """Yield rows with their scores, the best first, of equal ones the lower first, each once.

    The order is the same whoever asks, when, and however much is taken of it: a search computes scores in the way that
    is fastest at the moment, and the last bit of one may be another in another way. So what lies close together is
    ordered by `scores`, and the last ones of a level, beside which others may score as much, wait for the next.

    Args:
        search: finds the best.
        rows: how many there are.
        scores: settles the order.
        only: search once, for so many; by levels until all rows are found if None.
    """
    seen = np.empty(0, np.int64)
    levels = (*(level for level in LEVELS if level < rows), rows) if only is None else (min(only, rows),)
    for k in levels if rows else ():
        found = search(k)
        there = found.ids[0] != MISSING
        ids, near = found.ids[0][there], found.scores[0][there]
        is_last = k == levels[-1] or len(ids) < k
        new = ~np.isin(ids, seen)
        if not is_last:
            new &= near > near[-1] + MARGIN
        yield from _settled(ids[new], near[new], scores)
        if is_last:
            return
        seen = np.concatenate([seen, ids[new]])


def _settled(ids: IdArray, near: FloatArray, scores: Scores) -> Iterator[tuple[int, float]]:
    """Yield rows in order, some at a time: where a block ends, the next row scores less by more than the margin."""
    gaps = np.flatnonzero(near[:-1] > near[1:] + MARGIN) + 1
    start = 0
    while start < len(ids):
        later = gaps[gaps >= min(start + BLOCK, len(ids))]
        stop = int(later[0]) if len(later) else len(ids)
        block = ids[start:stop]
        exact = scores(block)
        order = np.lexsort((block, -exact))
        yield from zip(block[order].tolist(), exact[order].astype(np.float32).tolist(), strict=True)
        start = stop
