"""One measured figure, and how it got its standard error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Row:
    """One figure.

    Example:
        >>> found = engine.evaluate(engine.Collection.open("vectors.nest"), engine.EvaluateOptions(dims=(16,), k=5))
        >>> row = found.rows[0]
        >>> print(f"{row.representation}, {row.dim} dimensions: {row.metric} {row.value:.1f}, of {row.count} queries")
        truncation, 16 dimensions: recall@5 0.8, of 1000 queries

    Attributes:
        table: which table it belongs to: "neighbours", "labels", "adaptive", "captions", "trec" or "filters".
        representation: "truncation", "pca", "random", "full", "nested:NAME" or a name of the caller's; in "filters" the
            plan.
        queries: what was asked: "items" (stored vectors) or "texts".
        dim: prefix dimension; in "adaptive" that of the shortlist; 0 for a run that was read from a file.
        rerank: dimension the shortlist is reranked by, in "adaptive" only.
        metric: its name with the cut-off, e.g. "recall@10".
        value: the mean over queries ("ms": the median over runs).
        error: standard error of the mean over queries; None for "ms", or where there is one query.
        count: queries.
        filter: in "filters" only, the family of the filters.
    """

    table: str
    representation: str
    queries: str
    dim: int
    rerank: int | None
    metric: str
    value: float
    error: float | None
    count: int
    filter: str | None = None


def mean_row(
    table: str,
    representation: str,
    queries: str,
    dim: int,
    metric: str,
    values: NDArray[Any],
    *,
    rerank: int | None = None,
) -> Row:
    """Make the row of a metric from its value for each query.

    Args:
        table: see `Row`, as are `representation`, `queries`, `dim`, `metric` and `rerank`.
        values: real [nq], nq ≥ 1.
    """
    exact = np.asarray(values, dtype=np.float64)
    error = float(exact.std(ddof=1)) / math.sqrt(len(exact)) if len(exact) > 1 else None
    return Row(table, representation, queries, dim, rerank, metric, float(exact.mean()), error, len(exact))
