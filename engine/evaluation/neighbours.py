"""How many of the true neighbours a prefix finds, alone and as the shortlist of a rerank."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from engine.evaluation.nearest import nearest, scores_of
from engine.evaluation.ranking import found_share
from engine.evaluation.representations import Representation
from engine.evaluation.rows import Row, mean_row
from engine.planning.queries import QuerySet
from engine.progress import Advance, idle
from indexers.base import Neighbors
from indexers.errors import InvalidInput

TABLE = "neighbours"


def check_cuts(k: int, shortlist: int) -> None:
    """Refuse cut-offs that measure nothing.

    Raises:
        InvalidInput: k < 1, or a shortlist shorter than k.
    """
    if k < 1:
        raise InvalidInput(f"k must be at least 1, found {k}")
    if shortlist < k:
        raise InvalidInput(f"a shortlist must hold at least k = {k} rows, found {shortlist}: raise it, or lower k")


def neighbour_table(
    representations: Iterable[Representation],
    dims: Sequence[int],
    k: int = 10,
    shortlist: int = 100,
    *,
    advance: Advance = idle,
) -> list[Row]:
    """Measure what a prefix finds of the neighbours its own full dimension has.

    Args:
        representations: each is measured with all its query sets.
        dims: prefix dimensions; those a representation does not have are passed over.
        k: neighbours that are to be found.
        shortlist: R, candidates a rerank by the full dimension would look at.
        advance: hears of every prefix that is done.

    Returns:
        a row "recall@k" (share of the true k among the best k by the prefix) and a row "recall@k in R" (among the best
        R by it: what is left after reranking them) for each representation, set and prefix. Answers that tie
        with the k-th true one count as true ones.

    Raises:
        InvalidInput: k < 1 or shortlist < k, or no queries.
    """
    check_cuts(k, shortlist)
    rows: list[Row] = []
    for one in representations:
        for queries in one.queries:
            if not len(queries.xq):
                raise InvalidInput(f"{one.name}: there are no {queries.name} to ask with")
            truth = nearest(one, queries, one.dim, k)
            for dim in one.measured(dims):
                rows += _prefix(one, queries, dim, truth, shortlist)
                advance(1)
    return rows


def _prefix(one: Representation, queries: QuerySet, dim: int, truth: Neighbors, shortlist: int) -> list[Row]:
    k = truth.ids.shape[1]
    found = nearest(one, queries, dim, shortlist)
    scores = scores_of(one.base, queries.xq, found.ids)
    metrics: dict[str, np.ndarray] = {
        f"recall@{k}": found_share(found.ids[:, :k], truth, scores[:, :k]),
        f"recall@{k} in {shortlist}": found_share(found.ids, truth, scores),
    }
    return [mean_row(TABLE, one.name, queries.name, dim, name, values) for name, values in metrics.items()]
