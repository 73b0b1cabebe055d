"""Families of filters that a search is measured under: rows at random, near what is asked, far from it, and tags.

Of the same share of all rows, what finds those that are scattered or near may find nothing of those that lie far from
a query; a filter by itself does not say which it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from indexers.mask import Allowed
from indexers.vectors import FloatArray, IdArray

RANDOM = {"random 10 %": 0.1, "random 1 %": 0.01, "random 0.1 %": 0.001}
NEAR, FAR, ONE_TAG, TWO_TAGS = "near 1 %", "far 1 %", "one tag", "two tags"
FAMILIES = (*RANDOM, NEAR, FAR, ONE_TAG, TWO_TAGS)
SEED = 24
PARTS, TAGS, TAGS_A_ROW = 10_000, 2000, 3
SHARE, NEAR_WITHIN, FAR_WITHIN = 0.01, 0.05, 0.5
"""Of near and far filters: rows that match, drawn from so large a share of those that are most or least alike."""

ASKED_ONE, ASKED_TWO = 40, 8
"""Tags are asked for among the so many most frequent, the second of two among fewer: most pairs have rows then."""


@dataclass(frozen=True)
class Case:
    """A filter for one query.

    Attributes:
        family: one of FAMILIES.
        allowed: which rows match, bool [n].
        below: of a random one: it is `part < below`.
        tags: of one by tags: those that a row must have.
    """

    family: str
    allowed: Allowed
    below: int | None = None
    tags: tuple[int, ...] = ()


class Drawn:
    """What filters ask of n rows: a number that is even over all of them, and tags whose frequencies are Zipf's.

    Attributes:
        part: int16 [n], from 0 to before PARTS.
        tags: int64 [n, TAGS_A_ROW], from 0 to before TAGS, the frequent ones first; one may come twice.
    """

    def __init__(self, rows: int) -> None:
        rng = np.random.default_rng([SEED, rows])
        weights = 1 / np.arange(1, TAGS + 1)
        self.tags: IdArray = rng.choice(TAGS, size=(rows, TAGS_A_ROW), p=weights / weights.sum())
        self.part = rng.integers(0, PARTS, rows).astype(np.int16)

    def cases(self, scores: FloatArray, number: int) -> Iterator[Case]:
        """Yield a filter of each family for a query.

        Args:
            scores: of all rows with it, float32 [n].
            number: of the query; others are drawn for another.
        """
        rng, rows = np.random.default_rng([SEED, number]), len(self.part)
        for family, share in RANDOM.items():
            below = round(share * PARTS)
            yield Case(family, self.part < below, below)
        near, far = (round(share * (rows - 1)) for share in (1 - NEAR_WITHIN, FAR_WITHIN))
        ordered = np.partition(scores, (far, near))
        for family, among in ((NEAR, scores >= ordered[near]), (FAR, scores <= ordered[far])):
            allowed = np.zeros(rows, bool)
            pool = np.flatnonzero(among)
            allowed[rng.choice(pool, min(len(pool), max(1, round(SHARE * rows))), replace=False)] = True
            yield Case(family, allowed)
        one, two = (int(rng.integers(0, most)) for most in (ASKED_ONE, ASKED_TWO))
        first, second = ((self.tags == tag).any(axis=1) for tag in (one, two))
        yield Case(ONE_TAG, first, tags=(one,))
        yield Case(TWO_TAGS, first & second, tags=(one, two))
