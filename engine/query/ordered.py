"""The rows that answer one query in the order of their scores, as many as somebody takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from indexers.base import MISSING, Neighbors

LEVELS = (256, 4096, 65536)
"""So many rows are searched for one after the other, and then all: fixed, so that a page begins where one has ended."""

Search = Callable[[int], Neighbors]
"""Finds so many rows of one query, Neighbors [1, ≤ k]."""


def in_order(search: Search, rows: int) -> Iterator[tuple[int, float]]:
    """Yield rows with their scores, the best first, each once.

    The order is the same whoever asks, and however much is taken of it: what a level finds goes on where the level
    before ended, though another way of computing a score may round its last bit otherwise.

    Args:
        search: finds the best; the same for the same number.
        rows: how many there are.
    """
    seen: set[int] = set()
    for k in (*(level for level in LEVELS if level < rows), rows):
        found = search(k)
        ids, scores = found.ids[0], found.scores[0]
        new = ids != MISSING
        if seen:
            new &= ~np.isin(ids, np.fromiter(seen, np.int64, len(seen)))
        seen.update(ids[new].tolist())
        yield from zip(ids[new].tolist(), scores[new].tolist(), strict=True)
        if len(ids) < k or (len(ids) and ids[-1] == MISSING):
            return
