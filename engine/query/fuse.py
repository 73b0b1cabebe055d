"""Cosines and BM25 of the same rows put together: the best by both, and no row left out that would be among them.

A convex combination of both scores, each on a scale that a query has whatever is found for it: Bruch, Gai & Ingber,
"An Analysis of Fusion Functions for Hybrid Retrieval" (2022), find it better than adding up ranks. Both lists are gone
through until what neither has shown can no longer be among the best (the Threshold Algorithm: Fagin, Lotem & Naor
2003): every row has both its scores, and none has one that was made up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from engine.query.ordered import LEVELS, MARGIN, Scores, Search
from engine.retrieval.searcher import Searcher
from indexers.base import MISSING
from indexers.vectors import FloatArray, IdArray

BLEND = 0.5
"""What BM25 counts beside the cosine where nobody has tuned it."""

SAMPLE = 2048
"""Rows whose cosines say what is usual for a query."""

SPREADS = 6.0
"""So many standard deviations above the usual cosine count as much as the best BM25; see docs/benchmarks/hybrid.md."""


@dataclass(frozen=True)
class Scale:
    """What a query's scores are divided by before they are put together.

    Attributes:
        mean: of its cosines with rows drawn at random.
        spread: the cosine that is so much more than the mean counts as 1.
        words: the best BM25 of any row, which counts as 1.
        blend: what BM25 counts, from 0 to 1; the cosine counts the rest.
    """

    mean: float
    spread: float
    words: float
    blend: float

    def of(self, cosines: NDArray[np.float64], words: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return both as one number, float64 [n]."""
        near = (cosines - self.mean) / self.spread
        return (1 - self.blend) * near + self.blend * words / self.words


def fused(
    search: Search,
    cosines: Scores,
    words: Callable[[int], tuple[IdArray, NDArray[np.float64]]],
    bm25: Scores,
    scale: Scale,
    rows: int,
    *,
    only: int | None = None,
) -> Iterator[tuple[int, float]]:
    """Yield rows in the order of both scores together, of equal ones the lower first, each once.

    Args:
        search: finds so many rows by their vectors.
        cosines: returns those of rows, always the same for the same row.
        words: finds so many rows by their words, and their BM25.
        bm25: returns that of rows.
        scale: how both are put together.
        rows: how many may answer.
        only: look at so many by their vectors and no more; at all, for as long as somebody takes them, if None.
    """
    seen = waiting = np.empty(0, np.int64)
    values = np.empty(0)
    levels = (*(level for level in LEVELS if level < rows), rows) if only is None else (min(only, rows),)
    for k in levels if rows else ():
        found = search(k)
        there = found.ids[0] != MISSING
        near, (far, least) = found.ids[0][there], words(k)
        new = np.setdiff1d(np.union1d(near, far), seen)
        seen = np.concatenate([seen, new])
        waiting = np.concatenate([waiting, new])
        values = np.concatenate([values, scale.of(cosines(new), bm25(new))])
        bound = -np.inf
        if k < levels[-1] and len(near) == k:
            # Nothing that was not seen has more of either than the last that was.
            last = np.array([found.scores[0][there][-1] + MARGIN]), np.array([least[-1] if len(far) == k else 0.0])
            bound = float(scale.of(*last)[0])
        order = np.lexsort((waiting, -values))
        done = int(np.count_nonzero(values > bound))
        yield from zip(waiting[order[:done]].tolist(), values[order[:done]].tolist(), strict=True)
        waiting, values = waiting[order[done:]], values[order[done:]]
        if bound == -np.inf:
            return


def usual(searcher: Searcher, xq: FloatArray, dim: int | None) -> FloatArray:
    """Return the cosines of a query with rows drawn by their numbers, which are read once, float32 [≤ SAMPLE].

    Args:
        searcher: over the space.
        xq: unit float32 [D].
        dim: how many numbers count; all if None.
    """
    drawn = _drawn.get(searcher)
    if drawn is None:
        rows = searcher.live.numbers
        drawn = searcher.vectors(rows[np.linspace(0, len(rows) - 1, min(SAMPLE, len(rows))).astype(np.int64)])
        _drawn[searcher] = drawn
    cosines: FloatArray = drawn[:, :dim] @ xq[:dim]
    if dim is not None:
        lengths = np.linalg.norm(drawn[:, :dim], axis=1) * np.linalg.norm(xq[:dim])
        cosines = cosines / np.maximum(lengths, np.finfo(np.float32).tiny)
    return cosines


_drawn: WeakKeyDictionary[Searcher, FloatArray] = WeakKeyDictionary()


def scale_of(drawn: FloatArray, most: float, blend: float) -> Scale:
    """Return the scale of one query.

    Args:
        drawn: cosines of rows drawn at random.
        most: the best BM25 of any row.
        blend: what BM25 counts.
    """
    # The last bits depend on the machine, and the order of a page must not.
    mean, spread = round(float(drawn.mean()), 5), round(float(drawn.std()), 5)
    return Scale(mean, SPREADS * max(spread, 1e-5), most or 1.0, blend)
