"""What searches keep under filters: the one that is made where no plan is named, which is exact, and a named plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from engine.collection.snapshot import Snapshot
from engine.evaluation.rows import Row, mean_row
from engine.planning.filtered import QUERIES, Shown, under_filters
from engine.planning.queries import QuerySet
from engine.retrieval.searcher import Searcher
from indexers.plan import EXACT, SearchPlan
from indexers.vectors import IdArray

TABLE = "filters"


def plans_under_filters(snapshot: Snapshot, plan: SearchPlan | None, k: int) -> tuple[Searcher, list[SearchPlan]]:
    """Return a search of the main space, and the plans to measure: an exact one, as filters are searched by, and yours.

    Raises:
        InvalidSpec: the plan names an index the collection does not have.
    """
    searcher = Searcher(snapshot)
    return searcher, [SearchPlan(EXACT), *([] if plan is None else [searcher.routes.fit(plan, k)])]


def filter_table(
    searcher: Searcher, plans: Sequence[SearchPlan], sets: Sequence[QuerySet], live: IdArray, k: int
) -> list[Row]:
    """Measure plans under filters of each family (`planning.families`).

    Args:
        searcher: over the main space.
        plans: how to search.
        sets: queries of each kind, of which `QUERIES` are asked; `own` counts live rows.
        live: their row numbers.
        k: answers that count.

    Returns:
        by family, kind and plan: "recall@k" among the rows that match; "short", the share of queries with fewer answers
        than k or than match; "match", the share of rows that do; and "ms" of a search on one thread, their median.
    """
    asked = [_some(one, live) for one in sets]
    return [row for shown in under_filters(searcher, asked, k, plans) for row in _figures(shown, searcher.dim, k)]


def _some(asked: QuerySet, live: IdArray) -> QuerySet:
    """Return a few queries from all over, by row numbers."""
    at = np.unique(np.linspace(0, len(asked) - 1, min(QUERIES, len(asked))).astype(np.int64))
    own = None if asked.own is None else live[asked.own[at]]
    return replace(asked, xq=np.ascontiguousarray(asked.xq[at]), own=own)


def _figures(shown: Shown, dim: int, k: int) -> Iterator[Row]:
    metrics = {f"recall@{k}": shown.recall, "short": shown.short, "match": shown.matching}
    about = TABLE, str(shown.plan), shown.kind, dim
    for metric, values in metrics.items():
        yield replace(mean_row(*about, metric, values), filter=shown.family)
    milliseconds = 1e3 * float(np.median(shown.seconds))
    yield Row(*about, None, "ms", milliseconds, None, len(shown.seconds), filter=shown.family)
