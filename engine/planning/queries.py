"""Queries of one kind: what plans, prefixes and heads are measured with."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from engine.heads.model import Side
from indexers.vectors import FloatArray, IdArray

ITEMS = "items"
"""The kind of queries that are rows of the collection themselves."""


@dataclass(frozen=True)
class QuerySet:
    """Queries of one kind.

    Attributes:
        name: "items", "texts" or another: what tables and plans call the kind.
        xq: unit float32 [nq, D].
        own: int64 [nq], the row that each query is itself and that must not answer it: it would be the first, which
            says nothing. None where the queries are no rows.
        side: the tower of a head they go through.
    """

    name: str
    xq: FloatArray
    own: IdArray | None = None
    side: Side = "items"

    def __len__(self) -> int:
        return len(self.xq)

    def part(self, start: int, stop: int) -> QuerySet:
        """Return some of them."""
        own = None if self.own is None else self.own[start:stop]
        return replace(self, xq=np.ascontiguousarray(self.xq[start:stop]), own=own)
