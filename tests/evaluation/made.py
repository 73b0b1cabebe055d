"""Data, and the definitions written out plainly: slow, in float64, and without the code they judge."""

from __future__ import annotations

import numpy as np

from engine.evaluation.representations import Representation
from engine.planning.queries import QuerySet
from indexers.vectors import FloatArray, IdArray
from tests.helpers import clustered

DIM = 16


def items(n: int = 120, queries: int = 30, seed: int = 0) -> Representation:
    """Rows, some of which ask."""
    base = clustered(n, DIM, seed)
    own = np.sort(np.random.default_rng(seed + 1).choice(n, queries, replace=False))
    return Representation("truncation", base, (QuerySet("items", base[own], own),))


def order_of(base: FloatArray, query: FloatArray, dim: int, own: int | None) -> list[int]:
    """Return every row but the query's own, by cosine over the prefix."""
    rows = base[:, :dim].astype(np.float64)
    asked = query[:dim].astype(np.float64)
    cosines = rows @ asked / np.linalg.norm(rows, axis=1) / np.linalg.norm(asked)
    return [int(row) for row in np.argsort(-cosines, kind="stable") if row != own]


def orders(one: Representation, dim: int) -> list[list[int]]:
    """Return those orders for every query of the first set."""
    (asked,) = one.queries
    own: IdArray | list[None] = [None] * len(asked.xq) if asked.own is None else asked.own
    return [order_of(one.base, query, dim, row) for query, row in zip(asked.xq, own, strict=True)]


def standard_error(values: list[float]) -> float:
    """Write out the standard error of a mean."""
    mean = sum(values) / len(values)
    return float((sum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values)) ** 0.5)
